/**
 * Memory in the place of a store that is missing or full; it lasts as long as whoever made it.
 *
 * Knows nothing about browsers. A file lies in one array from the first piece on, so that reading it copies nothing.
 */

import type { Bytes } from "../core/bytes.js";
import type { FileInfo } from "../core/format.js";
import { pieceBytes, pieceSize } from "../core/piece-check.js";
import { explainMemory } from "./memory.js";
import type { Store } from "./store.js";

interface Held {
  readonly bytes: Bytes;
  count: number;
  isComplete: boolean;
}

export class MemoryStore implements Store {
  readonly #files = new Map<string, Held>();

  async isComplete(file: FileInfo): Promise<boolean> {
    return this.#files.get(file.sha256)?.isComplete ?? false;
  }

  async held(file: FileInfo): Promise<number> {
    return this.#files.get(file.sha256)?.count ?? 0;
  }

  async piece(file: FileInfo, index: number): Promise<Bytes | null> {
    const held = this.#files.get(file.sha256);
    if (held === undefined || index >= held.count) return null;
    const start = index * pieceSize(file);
    return held.bytes.subarray(start, start + pieceBytes(file, index));
  }

  async keep(file: FileInfo, index: number, bytes: Bytes): Promise<void> {
    const held = this.#heldOf(file);
    held.bytes.set(bytes, index * pieceSize(file));
    held.count = index + 1;
  }

  async complete(file: FileInfo): Promise<void> {
    const held = this.#heldOf(file);
    held.isComplete = true;
  }

  async cut(file: FileInfo, index: number): Promise<void> {
    const held = this.#files.get(file.sha256);
    if (held === undefined) return;
    held.count = Math.min(held.count, index);
    held.isComplete = false;
    if (held.count === 0) this.#files.delete(file.sha256);
  }

  /** The whole of a complete file, without a copy. */
  whole(file: FileInfo): Bytes | null {
    const held = this.#files.get(file.sha256);
    return held?.isComplete ? held.bytes : null;
  }

  async manifest(): Promise<Bytes | null> {
    return null;
  }

  async announce(): Promise<void> {}

  async settle(): Promise<void> {}

  #heldOf(file: FileInfo) {
    const held = this.#files.get(file.sha256) ?? { bytes: reserve(file), count: 0, isComplete: false };
    this.#files.set(file.sha256, held);
    return held;
  }
}

function reserve(file: FileInfo): Bytes {
  try {
    return new Uint8Array(file.bytes);
  } catch (error) {
    throw explainMemory(error, `keeping ${file.bytes} bytes`);
  }
}
