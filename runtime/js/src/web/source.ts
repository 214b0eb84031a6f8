/**
 * An artifact at an address, kept in the browser's store.
 *
 * Knows nothing about sessions: it makes sure that files are there and gives their bytes.
 */

import { throwIfAborted } from "../core/abort.js";
import { type AddressOptions, askingFor, type Remote } from "../core/address.js";
import { bringEach } from "../core/bring-each.js";
import { ArtifactError } from "../core/errors.js";
import { type FoundManifest, fetchManifest } from "../core/fetch-manifest.js";
import { type FolderSource, lazyFolder, type Watch } from "../core/files.js";
import { type FileInfo, MANIFEST_FILE, type Manifest } from "../core/format.js";
import { noRoom } from "../core/models.js";
import { filesAtFirst } from "../core/needed-files.js";
import { PIECE_BYTES, pieceCount, pieceSize } from "../core/piece-check.js";
import type { GraphSource } from "../core/ports.js";
import { resolve } from "../core/resolve.js";
import type { AdapterOptions, LoadWatcher, RoomOptions, SourceOptions, WebArtifact } from "./artifact.js";
import { digest } from "./hash.js";
import { alone, artifactName, use } from "./locks.js";
import { explainMemory } from "./memory.js";
import type { MemoryStore } from "./memory-store.js";
import { openStore } from "./open-store.js";
import { baseAddress } from "./place.js";
import { CacheStore, type Store } from "./store.js";

/** The artifact at an absolute address. Throws InputError for what is no address. */
export async function openSource(address: string, options: AddressOptions & SourceOptions): Promise<WebSource> {
  return new WebSource(await resolve(address, options), await openStore(), options);
}

/** Where nothing is kept. */
const NO_STORE: Store = {
  isComplete: async () => false,
  held: async () => 0,
  piece: async () => null,
  keep: async () => {},
  complete: async () => {},
  cut: async () => {},
  manifest: async () => null,
  announce: async () => {},
  settle: async () => {},
};

/** An artifact on a server. */
export class WebSource implements WebArtifact {
  readonly where: string;
  #remote: Remote;
  readonly #asking: AddressOptions;
  #watcher: LoadWatcher;
  readonly #cached: Store;
  #memory: MemoryStore | null = null;
  #release: (() => void) | null = null;
  #found: Promise<FoundManifest | null> | null = null;
  #files: ReadonlyMap<string, FileInfo> = new Map();
  #isAllKept: boolean;
  #listed: ReadonlyMap<string, FileInfo> = new Map(); // those of adapters may come when they are first read
  readonly #room: RoomOptions & AdapterOptions;
  #isFull = false;
  #hasAsked = false;

  constructor(remote: Remote, store: Store | null, options: AddressOptions & SourceOptions) {
    this.where = remote.where;
    this.#remote = remote;
    this.#asking = options;
    this.#room = options;
    this.#watcher = options;
    this.#cached = store ?? NO_STORE;
    this.#isAllKept = store !== null;
    if (store === null) {
      options.onWarning?.("this page has no storage (no secure context, or switched off); weights are not kept");
    }
  }

  /**
   * The model is loaded: what its graphs take later is no part of that, and the signal of it ends nothing any more. What
   * lies in memory is the session's by now, and is not held a second time.
   */
  detach(): void {
    const { onWarning } = this.#watcher;
    this.#watcher = { onWarning };
    for (const info of this.#files.values()) if (info.bytes > PIECE_BYTES) void this.#memory?.cut(info, 0);
  }

  /** Nothing of the artifact is read any more. */
  close(): void {
    this.#release?.();
    this.#release = null;
  }

  async has(path: string): Promise<boolean> {
    return path === MANIFEST_FILE ? (await this.#readManifest()) !== null : this.#find(path) !== undefined;
  }

  bytes(path: string): Promise<Uint8Array> {
    return this.#bytes(path, {});
  }

  reading(watch: Watch): FolderSource {
    return {
      where: this.where,
      has: (path) => this.has(path),
      bytes: (path) => this.#bytes(path, watch),
      sha256: (path) => this.sha256(path),
    };
  }

  async #bytes(path: string, { signal, onProgress }: Watch): Promise<Uint8Array> {
    if (path === MANIFEST_FILE) {
      const found = await this.#readManifest();
      if (found === null) throw new ArtifactError(`${this.where} has no ${MANIFEST_FILE}`);
      return found.bytes;
    }
    const info = this.#info(path);
    // What had no room in the store and was let go of after loading is asked for once more.
    const mayMiss = !this.#isAllKept || !this.#files.has(path);
    if (mayMiss && !(await this.#isThere(info))) {
      const onBytes = (loadedBytes: number) => onProgress?.({ file: path, loadedBytes, totalBytes: info.bytes });
      await this.#fillOne(path, info, false, onBytes, signal);
    }
    return this.#memory?.whole(info) ?? readWhole(path, info, this.#cached);
  }

  /** Files are in the store under the hash that they were checked against. */
  async sha256(path: string): Promise<string> {
    return this.#info(path).sha256;
  }

  async prepare(manifest: Manifest, hashes: boolean): Promise<void> {
    this.#release ??= use(artifactName(this.where)); // until it is closed nothing of it is deleted
    const { bytes } = (await this.#readManifest()) as FoundManifest;
    const needed = filesAtFirst(manifest, this.#room.adapters);
    this.#listed = manifest.files;
    const missing = await this.#missing(needed);
    if (missing.size > 0) await this.#checkRoom(needed);
    await this.#write(() => this.#cached.announce(this.where, bytes));
    await this.#fill(needed, missing, hashes);
    if (this.#isAllKept) await this.#write(() => this.#cached.settle(this.where, bytes));
  }

  /** Make sure that these files are in the store, and that no others are asked for. */
  async fill(files: ReadonlyMap<string, FileInfo>, hashes: boolean): Promise<void> {
    await this.#fill(files, await this.#missing(files), hashes);
  }

  async graph(graph: string, weights: string): Promise<GraphSource> {
    const { signal, onProgress } = this.#watcher;
    throwIfAborted(signal);
    const totalBytes = this.#info(weights).bytes;
    onProgress?.({ stage: "open", file: null, loadedBytes: 0, totalBytes });
    const data = await this.bytes(weights);
    return { model: await this.bytes(graph), externalData: [{ path: weights, data }] };
  }

  folder(location: string): FolderSource {
    const address = new URL(location, baseAddress()).href.replace(/\/+$/, "");
    return lazyFolder(address, async (watch) => {
      const { fetchedFolder } = await import("./later.js"); // most adapters lie in the artifact
      return fetchedFolder(address, digest, askingFor(address, this.where, this.#asking), watch);
    });
  }

  async #fill(files: ReadonlyMap<string, FileInfo>, missing: ReadonlySet<string>, hashes: boolean): Promise<void> {
    this.#files = files;
    const bring = async (name: string, info: FileInfo, onBytes: (loaded: number) => void) => {
      if (hashes || missing.has(name)) await this.#fillOne(name, info, hashes, onBytes);
    };
    await bringEach(this.where, files, bring, (progress) => {
      this.#watcher.onProgress?.({ stage: "download", ...progress });
    });
  }

  /** The names of those that are not there. */
  async #missing(files: ReadonlyMap<string, FileInfo>): Promise<ReadonlySet<string>> {
    const missing = new Set<string>();
    for (const [name, info] of files) if (!(await this.#isThere(info))) missing.add(name);
    return missing;
  }

  /** Before the first byte: where what is missing does not fit, large files go into memory, or nowhere. */
  async #checkRoom(needed: ReadonlyMap<string, FileInfo>): Promise<void> {
    const { makeRoom, mustKeep = false } = this.#room;
    const { WebModels } = await import("./later.js"); // what is there needs no room
    const store = this.#cached instanceof CacheStore ? this.#cached : null;
    const room = await new WebModels(store).findRoom(this.where, needed, store === null ? undefined : makeRoom);
    if (room.fits) return;
    if (mustKeep) throw noRoom(this.where, room);
    this.#isFull = true;
    if (!this.#isAllKept) return; // that there is no store was told already
    this.#warnOfMemory(this.where, room.missingBytes);
    this.#isAllKept = false;
  }

  /** The browser gave less than it said: ask what may be deleted, once; whether there is more now. */
  async #makeRoom(): Promise<boolean> {
    const { makeRoom } = this.#room;
    if (makeRoom === undefined || this.#hasAsked || !(this.#cached instanceof CacheStore)) return false;
    this.#hasAsked = true;
    const { WebModels } = await import("./later.js");
    return new WebModels(this.#cached).askForRoom(this.where, this.#files, makeRoom);
  }

  #warnOfMemory(what: string, bytes: number): void {
    this.#watcher.onWarning?.(
      `${what}: the browser has no room to keep ${bytes} bytes; they stay in memory and are downloaded again next time`,
    );
  }

  /** One file into the store; into memory where the store has no room for it. */
  async #fillOne(
    name: string,
    info: FileInfo,
    hashes: boolean,
    onBytes: (loaded: number) => void,
    signal = this.#watcher.signal,
  ): Promise<void> {
    const file = { name, address: this.#remote.addressOf(name), info };
    const { download } = await import("./later.js"); // a page that has all of it needs none
    const options = { ...this.#asking, signal, onBytes, rechecks: hashes };
    if (this.#cached === NO_STORE || (this.#isFull && info.bytes > PIECE_BYTES)) {
      await download(file, await this.#inMemory(), { ...options, rechecks: false });
      return;
    }
    try {
      // Two tabs that want a file download it once: the second finds it when its turn comes.
      await alone(
        `file ${info.sha256}`,
        async () => {
          if (hashes || !(await this.#isThere(info))) await download(file, this.#cached, options);
        },
        signal,
      );
    } catch (error) {
      if ((error as Error).name !== "QuotaExceededError") throw error;
      if (await this.#makeRoom()) return this.#fillOne(name, info, hashes, onBytes, signal);
      if (this.#room.mustKeep) throw noRoom(name, { missingBytes: info.bytes, freeBytes: 0 });
      this.#warnOfMemory(name, info.bytes);
      this.#isAllKept = false;
      await this.#moveToMemory(info);
      await download(file, await this.#inMemory(), { ...options, rechecks: false });
    }
  }

  async #isThere(info: FileInfo): Promise<boolean> {
    return (this.#memory?.whole(info) ?? null) !== null || (await this.#cached.isComplete(info));
  }

  async #inMemory(): Promise<MemoryStore> {
    const { MemoryStore } = await import("./later.js");
    this.#memory ??= new MemoryStore();
    return this.#memory;
  }

  /** The pieces that the store had room for need not come a second time. */
  async #moveToMemory(info: FileInfo): Promise<void> {
    const memory = await this.#inMemory();
    for (let index = 0; index < pieceCount(info); index++) {
      const piece = await this.#cached.piece(info, index);
      if (piece === null) break;
      await memory.keep(info, index, piece);
    }
    await this.#cached.cut(info, 0);
  }

  /** A small entry of the store; that there is no room for it is told of where the files are. */
  async #write(entry: () => Promise<void>): Promise<void> {
    try {
      await entry();
    } catch (error) {
      if ((error as Error).name !== "QuotaExceededError") throw error;
    }
  }

  /** From the server; where it cannot be had there, as it was when the artifact was last complete. */
  #readManifest(): Promise<FoundManifest | null> {
    if (this.#found === null) {
      const reading = this.#fetchManifest();
      this.#found = reading;
      const again = () => {
        this.#found = null;
      };
      reading.then((found) => found ?? again(), again); // what was not there may be uploaded a moment later
    }
    return this.#found;
  }

  async #fetchManifest(): Promise<FoundManifest | null> {
    const kept = await this.#cached.manifest(this.where);
    const found = await fetchManifest(this.#remote, kept, { ...this.#asking, ...this.#watcher });
    if (found !== null) this.#remote = found.remote;
    return found;
  }

  #info(path: string): FileInfo {
    const info = this.#find(path);
    if (info === undefined) throw new ArtifactError(`${this.where} has no ${path}; export the artifact again`);
    return info;
  }

  #find(path: string): FileInfo | undefined {
    return this.#files.get(path) ?? this.#listed.get(path);
  }
}

/** A complete file in one piece of memory. */
async function readWhole(name: string, info: FileInfo, store: Store): Promise<Uint8Array> {
  let whole: Uint8Array;
  try {
    whole = new Uint8Array(info.bytes);
  } catch (error) {
    throw explainMemory(error, `reading ${name} (${info.bytes} bytes)`);
  }
  for (let index = 0; index < pieceCount(info); index++) {
    const piece = await store.piece(info, index);
    if (piece === null) {
      await store.cut(info, index);
      throw new ArtifactError(`${name}: the browser dropped a part of it from its cache; load again to download it`);
    }
    whole.set(piece, index * pieceSize(info));
  }
  return whole;
}
