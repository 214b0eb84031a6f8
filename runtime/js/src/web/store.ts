/**
 * Downloaded files in the browser's Cache API, in pieces under the SHA-256 of the whole file.
 *
 * Knows nothing about the network or about what the files are. Each piece is one entry, and the browser adds an entry
 * as a whole or not at all, so nothing half written is ever there; a file counts as there once its hash was checked and
 * `complete` said so. The Cache API does this in pages, workers and every browser alike; OPFS appends to a file only in
 * workers, locks it against other tabs, and leaves it to us to tell half a file from a whole one.
 */

import type { Bytes } from "../core/bytes.js";
import type { FileInfo } from "../core/format.js";

/** What a reload in the middle of a download loses at most. */
export const PIECE_BYTES = 4 << 20;

const CACHE_NAME = "edgelora-1";
const KEYS = "https://edgelora.invalid"; // keys must be addresses; nothing is ever fetched from there

/** Files by their hash, and the manifest of each artifact by its address. */
export interface Store {
  /** Every piece is there and the whole was checked. */
  isComplete(file: FileInfo): Promise<boolean>;
  /** Piece `index` of a file, null where it is not there. */
  piece(file: FileInfo, index: number): Promise<Bytes | null>;
  /** Throws a QuotaExceededError where the browser gives no more room. */
  keep(file: FileInfo, index: number, bytes: Bytes): Promise<void>;
  /** The pieces together have the hash of the file. */
  complete(file: FileInfo): Promise<void>;
  remove(file: FileInfo): Promise<void>;
  /** The manifest with which an artifact was last complete, null where it never was. */
  manifest(address: string): Promise<Uint8Array | null>;
  /** Announce a manifest before its files are downloaded, so that they are not taken for leftovers. */
  announce(address: string, manifest: Bytes): Promise<void>;
  /** Every file of the announced manifest is complete: it takes the place of the last; leftovers are removed. */
  settle(address: string, manifest: Bytes): Promise<void>;
}

/** Number of pieces of a file. */
export function pieceCount(file: FileInfo): number {
  return Math.ceil(file.bytes / PIECE_BYTES);
}

/** Length of piece `index`; 0 after the last. */
export function pieceBytes(file: FileInfo, index: number): number {
  return Math.max(0, Math.min(PIECE_BYTES, file.bytes - index * PIECE_BYTES));
}

/** The browser's store, null where it has none (no secure context, or storage switched off). */
export async function openStore(): Promise<Store | null> {
  if (typeof caches === "undefined") return null;
  try {
    return new CacheStore(await caches.open(CACHE_NAME));
  } catch {
    return null;
  }
}

class CacheStore implements Store {
  readonly #cache: Cache;

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  async isComplete(file: FileInfo): Promise<boolean> {
    const found = await this.#keys(`${KEYS}/sha256/${file.sha256}/`);
    return found.some((key) => key.endsWith("/complete")) && found.length === pieceCount(file) + 1;
  }

  async piece(file: FileInfo, index: number): Promise<Bytes | null> {
    const entry = await this.#cache.match(pieceKey(file, index));
    if (entry === undefined) return null;
    const bytes = new Uint8Array(await entry.arrayBuffer());
    return bytes.length === pieceBytes(file, index) ? bytes : null;
  }

  keep(file: FileInfo, index: number, bytes: Bytes): Promise<void> {
    return this.#cache.put(pieceKey(file, index), new Response(bytes));
  }

  complete(file: FileInfo): Promise<void> {
    return this.#cache.put(`${KEYS}/sha256/${file.sha256}/complete`, new Response(null));
  }

  async remove(file: FileInfo): Promise<void> {
    // The mark goes first: whatever stops this, no file without all its pieces counts as there.
    await this.#cache.delete(`${KEYS}/sha256/${file.sha256}/complete`);
    for (const key of await this.#keys(`${KEYS}/sha256/${file.sha256}/`)) await this.#cache.delete(key);
  }

  async manifest(address: string): Promise<Uint8Array | null> {
    const entry = await this.#cache.match(manifestKey("manifest", address));
    return entry === undefined ? null : new Uint8Array(await entry.arrayBuffer());
  }

  announce(address: string, manifest: Bytes): Promise<void> {
    return this.#cache.put(manifestKey("announced", address), new Response(manifest));
  }

  async settle(address: string, manifest: Bytes): Promise<void> {
    await this.#cache.put(manifestKey("manifest", address), new Response(manifest));
    await this.#cache.delete(manifestKey("announced", address));
    const wanted = new Set<string>();
    for (const key of [...(await this.#keys(`${KEYS}/manifest/`)), ...(await this.#keys(`${KEYS}/announced/`))]) {
      const record = (await (await this.#cache.match(key))?.json()) as { files?: Record<string, FileInfo> } | undefined;
      for (const file of Object.values(record?.files ?? {})) wanted.add(file.sha256);
    }
    for (const key of await this.#keys(`${KEYS}/sha256/`)) {
      if (!wanted.has(key.split("/")[4] as string)) await this.#cache.delete(key);
    }
  }

  async #keys(beginning: string): Promise<string[]> {
    return (await this.#cache.keys()).map((request) => request.url).filter((key) => key.startsWith(beginning));
  }
}

function pieceKey(file: FileInfo, index: number): string {
  return `${KEYS}/sha256/${file.sha256}/${index}`;
}

function manifestKey(kind: "manifest" | "announced", address: string): string {
  return `${KEYS}/${kind}/${encodeURIComponent(address)}`;
}

/** Memory in the place of a store that is missing or full; it lasts as long as the page. */
export class MemoryStore implements Store {
  readonly #pieces = new Map<string, Bytes[]>();
  readonly #complete = new Set<string>();

  async isComplete(file: FileInfo): Promise<boolean> {
    return this.#complete.has(file.sha256);
  }

  async piece(file: FileInfo, index: number): Promise<Bytes | null> {
    return this.#pieces.get(file.sha256)?.[index] ?? null;
  }

  async keep(file: FileInfo, index: number, bytes: Bytes): Promise<void> {
    const pieces = this.#pieces.get(file.sha256) ?? [];
    pieces[index] = bytes;
    this.#pieces.set(file.sha256, pieces);
  }

  async complete(file: FileInfo): Promise<void> {
    this.#complete.add(file.sha256);
  }

  async remove(file: FileInfo): Promise<void> {
    this.#complete.delete(file.sha256);
    this.#pieces.delete(file.sha256);
  }

  async manifest(): Promise<Uint8Array | null> {
    return null;
  }

  async announce(): Promise<void> {}

  async settle(): Promise<void> {}
}
