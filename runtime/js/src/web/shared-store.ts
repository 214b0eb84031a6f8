/**
 * The store where a browser keeps files for all sites together (the Cross-Origin Storage proposal): a base that another
 * site brought is there already.
 *
 * Knows nothing about the network. Only large files are shared; a download lies in this origin's store until it is whole,
 * and stays there where the browser, or its user, does not want to share.
 */

import type { Bytes } from "../core/bytes.js";
import type { FileInfo } from "../core/format.js";
import { PIECE_BYTES, pieceBytes, pieceCount, pieceSize } from "../core/piece-check.js";
import { CacheStore } from "./store.js";

/** What is used of the proposal. */
export interface CrossOriginStorage {
  requestFileHandles(
    hashes: readonly { readonly algorithm: "SHA-256"; readonly value: string }[],
    options?: { readonly create?: boolean },
  ): Promise<readonly SharedHandle[]>;
}

interface SharedHandle {
  getFile(): Promise<Blob>;
  createWritable(): Promise<{ write(bytes: Bytes): Promise<void>; close(): Promise<void>; abort(): Promise<void> }>;
}

export class SharedStore extends CacheStore {
  readonly #storage: CrossOriginStorage;
  readonly #found = new Map<string, Blob>();

  constructor(cache: Cache, storage: CrossOriginStorage) {
    super(cache);
    this.#storage = storage;
  }

  override async isComplete(file: FileInfo): Promise<boolean> {
    return (await super.isComplete(file)) || (await this.#find(file)) !== null;
  }

  override async held(file: FileInfo): Promise<number> {
    return (await this.#find(file)) === null ? super.held(file) : pieceCount(file);
  }

  override async heldBytes(files: Iterable<FileInfo>): Promise<number> {
    let sum = 0;
    const own: FileInfo[] = [];
    for (const file of files) {
      if ((await this.#find(file)) === null) own.push(file);
      else sum += file.bytes;
    }
    return sum + (await super.heldBytes(own));
  }

  override async piece(file: FileInfo, index: number): Promise<Bytes | null> {
    const blob = this.#found.get(file.sha256); // looked for when it was asked whether the file is there
    if (blob === undefined) return super.piece(file, index);
    const start = index * pieceSize(file);
    try {
      return new Uint8Array(await blob.slice(start, start + pieceBytes(file, index)).arrayBuffer());
    } catch {
      this.#found.delete(file.sha256); // the browser made room
      return null;
    }
  }

  override async complete(file: FileInfo): Promise<void> {
    if (file.bytes <= PIECE_BYTES || !(await this.#share(file))) return super.complete(file);
    await super.cut(file, 0);
  }

  /** The file where it is shared; not asked again once it was found, which may ask the visitor. */
  async #find(file: FileInfo): Promise<Blob | null> {
    if (file.bytes <= PIECE_BYTES) return null;
    const known = this.#found.get(file.sha256);
    if (known !== undefined) return known;
    try {
      const [handle] = await this.#storage.requestFileHandles([{ algorithm: "SHA-256", value: file.sha256 }]);
      const blob = await handle?.getFile();
      if (blob === undefined || blob.size !== file.bytes) return null;
      this.#found.set(file.sha256, blob);
      return blob;
    } catch {
      return null; // it is not there, or not for this site
    }
  }

  /** Give the file, which is whole here, to all; false where that is not wanted. */
  async #share(file: FileInfo): Promise<boolean> {
    try {
      const hashes = [{ algorithm: "SHA-256", value: file.sha256 }] as const;
      const [handle] = await this.#storage.requestFileHandles(hashes, { create: true });
      const target = await handle?.createWritable();
      if (target === undefined) return false;
      for (let index = 0; index < pieceCount(file); index++) {
        const piece = await super.piece(file, index);
        if (piece === null) {
          await target.abort();
          return false;
        }
        await target.write(piece);
      }
      await target.close();
    } catch {
      return false;
    }
    return (await this.#find(file)) !== null;
  }
}
