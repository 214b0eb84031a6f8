/**
 * Downloaded files in the browser's Cache API, in pieces under the SHA-256 of the whole file.
 *
 * Knows nothing about the network or about what the files are. Each piece is one entry, and the browser adds an entry
 * as a whole or not at all, so nothing half written is ever there; a file counts as there once its hashes were checked
 * and `complete` said so. The Cache API does this in pages, workers and every browser alike; OPFS appends to a file only
 * in workers, locks it against other tabs, and leaves it to us to tell half a file from a whole one.
 */

import type { Bytes } from "../core/bytes.js";
import type { FileInfo } from "../core/format.js";
import { pieceBytes, pieceCount } from "../core/piece-check.js";
import { alone, artifactName, inUse } from "./locks.js";

const KEYS = "https://edgelora.invalid"; // keys must be addresses; nothing is ever fetched from there
const TIME = "x-edgelora-time"; // when an entry was made
const FORGOTTEN_MS = 7 * 24 * 3600 * 1000; // a download that nobody went on with for a week was given up

/** Files by their hash, and the manifest of each artifact by its address. */
export interface Store {
  /** Every piece is there and was checked. */
  isComplete(file: FileInfo): Promise<boolean>;
  /** Number of pieces that are there, from the first on and without a gap. */
  held(file: FileInfo): Promise<number>;
  /** Piece `index` of a file, null where it is not there. */
  piece(file: FileInfo, index: number): Promise<Bytes | null>;
  /** Throws a QuotaExceededError where the browser gives no more room. */
  keep(file: FileInfo, index: number, bytes: Bytes): Promise<void>;
  /** All pieces are there, and are those of the file. */
  complete(file: FileInfo): Promise<void>;
  /** Forget the pieces from `index` on. */
  cut(file: FileInfo, index: number): Promise<void>;
  /** The manifest with which an artifact was last complete, null where it never was. */
  manifest(address: string): Promise<Bytes | null>;
  /** Announce a manifest before its files are downloaded, so that they are not taken for leftovers. */
  announce(address: string, manifest: Bytes): Promise<void>;
  /** Every file of the announced manifest is complete: it takes the place of the last; leftovers are removed. */
  settle(address: string, manifest: Bytes): Promise<void>;
}

/** A manifest with which an artifact was last complete, or that of a download which is under way or broke off. */
export type Kind = "manifest" | "announced";

/** When a manifest was put into the store. */
export function timeOf(entry: Response): Date {
  return new Date(entry.headers.get(TIME) ?? 0);
}

export class CacheStore implements Store {
  readonly #cache: Cache;

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  async isComplete(file: FileInfo): Promise<boolean> {
    const found = await this.#keys(`${KEYS}/sha256/${file.sha256}/`);
    return found.some((key) => key.endsWith("/complete")) && found.length === pieceCount(file) + 1;
  }

  async held(file: FileInfo): Promise<number> {
    const found = new Set(await this.#keys(`${KEYS}/sha256/${file.sha256}/`));
    let count = 0;
    while (count < pieceCount(file) && found.has(pieceKey(file, count))) count += 1;
    return count;
  }

  /** Bytes of the files that are there, in pieces from the first on. */
  async heldBytes(files: Iterable<FileInfo>): Promise<number> {
    const found = new Set(await this.#keys(`${KEYS}/sha256/`));
    let sum = 0;
    for (const file of files) {
      for (let index = 0; found.has(pieceKey(file, index)); index++) sum += pieceBytes(file, index);
    }
    return sum;
  }

  async piece(file: FileInfo, index: number): Promise<Bytes | null> {
    const entry = await this.#cache.match(pieceKey(file, index));
    if (entry === undefined) return null;
    const bytes = new Uint8Array(await entry.arrayBuffer());
    return bytes.length === pieceBytes(file, index) ? bytes : null;
  }

  keep(file: FileInfo, index: number, bytes: Bytes): Promise<void> {
    return this.#put(pieceKey(file, index), new Response(bytes));
  }

  complete(file: FileInfo): Promise<void> {
    return this.#put(`${KEYS}/sha256/${file.sha256}/complete`, new Response(null));
  }

  async cut(file: FileInfo, index: number): Promise<void> {
    // The mark goes first: whatever stops this, no file without all its pieces counts as there.
    await this.#cache.delete(`${KEYS}/sha256/${file.sha256}/complete`);
    for (const key of await this.#keys(`${KEYS}/sha256/${file.sha256}/`)) {
      if (!(Number(key.slice(key.lastIndexOf("/") + 1)) < index)) await this.#cache.delete(key);
    }
  }

  async manifest(address: string): Promise<Bytes | null> {
    const entry = await this.#cache.match(manifestKey("manifest", address));
    return entry === undefined ? null : new Uint8Array(await entry.arrayBuffer());
  }

  announce(address: string, manifest: Bytes): Promise<void> {
    return alone("store", () => this.#putManifest(manifestKey("announced", address), manifest));
  }

  settle(address: string, manifest: Bytes): Promise<void> {
    return alone("store", async () => {
      await this.#putManifest(manifestKey("manifest", address), manifest);
      await this.#cache.delete(manifestKey("announced", address));
      // A model of the last upload that is open elsewhere may still read its files; the next load removes them.
      const users = (await inUse()).filter((name) => name === artifactName(address)).length;
      if (users < 2) await this.#sweep();
    });
  }

  /** Manifests by the address of their artifact, with when they were put there. */
  async manifests(kind: Kind): Promise<ReadonlyMap<string, Response>> {
    const beginning = `${KEYS}/${kind}/`;
    const found = new Map<string, Response>();
    for (const key of await this.#keys(beginning)) {
      const entry = await this.#cache.match(key);
      if (entry !== undefined) found.set(decodeURIComponent(key.slice(beginning.length)), entry);
    }
    return found;
  }

  /** Forget an artifact, and the files that no other one has. */
  forget(address: string): Promise<void> {
    return alone("store", async () => {
      await this.#cache.delete(manifestKey("manifest", address));
      await this.#cache.delete(manifestKey("announced", address));
      await this.#sweep();
    });
  }

  /** Remove the files that no manifest names, and what was announced and given up. */
  async #sweep(): Promise<void> {
    const wanted = new Set<string>();
    for (const kind of ["manifest", "announced"] as const) {
      for (const [address, entry] of await this.manifests(kind)) {
        if (kind === "announced" && !(Date.now() - timeOf(entry).getTime() < FORGOTTEN_MS)) {
          await this.#cache.delete(manifestKey(kind, address));
          continue;
        }
        const { files = {} } = (await entry.json()) as { files?: Record<string, FileInfo> };
        for (const file of Object.values(files)) wanted.add(file.sha256);
      }
    }
    for (const key of await this.#keys(`${KEYS}/sha256/`)) {
      if (!wanted.has(key.split("/")[4] as string)) await this.#cache.delete(key);
    }
  }

  #putManifest(key: string, manifest: Bytes): Promise<void> {
    return this.#put(key, new Response(manifest, { headers: { [TIME]: new Date().toISOString() } }));
  }

  async #put(key: string, entry: Response): Promise<void> {
    try {
      await this.#cache.put(key, entry);
    } catch (error) {
      // Firefox lets an exception of its own out, which is no DOMException and has no message.
      if ((error as Error).name !== "NS_ERROR_FILE_NO_DEVICE_SPACE") throw error;
      throw new DOMException("no room", "QuotaExceededError");
    }
  }

  async #keys(beginning: string): Promise<string[]> {
    return (await this.#cache.keys()).map((request) => request.url).filter((key) => key.startsWith(beginning));
  }
}

function pieceKey(file: FileInfo, index: number): string {
  return `${KEYS}/sha256/${file.sha256}/${index}`;
}

function manifestKey(kind: Kind, address: string): string {
  return `${KEYS}/${kind}/${encodeURIComponent(address)}`;
}
