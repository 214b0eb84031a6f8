/**
 * An artifact at an address, kept in the browser's store.
 *
 * Knows nothing about sessions: it makes sure that files are there and gives their bytes.
 */

import type { Bytes } from "../core/bytes.js";
import { ArtifactError, ConnectionError } from "../core/errors.js";
import type { FolderSource } from "../core/files.js";
import { type FileInfo, MANIFEST_FILE, type Manifest } from "../core/format.js";
import { parseManifest } from "../core/manifest.js";
import { inAddress } from "../core/names.js";
import type { ArtifactSource, GraphSource } from "../core/ports.js";
import { download } from "./download.js";
import { ADAPTER_FILES, FetchedFolder } from "./folders.js";
import { digest } from "./hash.js";
import { explainMemory } from "./memory.js";
import { MemoryStore, PIECE_BYTES, pieceBytes, pieceCount, type Store } from "./store.js";

const PATIENCE_MS = 30_000; // for a manifest
const SHORT_PATIENCE_MS = 3000; // where the artifact is in the cache

/** How far loading is. `download` counts bytes of all files, those of the cache included; `open` makes the session. */
export interface Progress {
  readonly stage: "download" | "open";
  /** The file that is being downloaded, null while opening. */
  readonly file: string | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/** Who follows the loading. */
export interface LoadWatcher {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** The files of a manifest that a runtime reads; the twins for other programs are not downloaded. */
export function neededFiles(manifest: Manifest): Map<string, FileInfo> {
  const { graph, tokenizer, encoder, adapters, files } = manifest;
  const names = [
    ...[graph.file, graph.withoutSlots, graph.weights, tokenizer?.file, tokenizer?.chatTemplate],
    encoder?.headFile,
    ...adapters.flatMap((adapter) => ADAPTER_FILES.map((file) => `${adapter.path}/${file}`)),
  ];
  const found = names.flatMap((name) => {
    const info = name ? files.get(name) : undefined;
    return name && info ? [[name, info] as const] : [];
  });
  return new Map(found);
}

/** An artifact behind an address without "/" at its end. */
export class WebSource implements ArtifactSource {
  readonly where: string;
  #watcher: LoadWatcher;
  readonly #cached: Store;
  readonly #memory = new MemoryStore();
  #manifest: Bytes | null | undefined;
  #files: ReadonlyMap<string, FileInfo> = new Map();
  #isAllKept = true;

  constructor(address: string, store: Store | null, watcher: LoadWatcher) {
    this.where = address;
    this.#watcher = watcher;
    this.#cached = store ?? this.#memory;
    if (store === null) {
      watcher.onWarning?.("this page has no storage (no secure context, or switched off); weights are not kept");
    }
  }

  /** The model is loaded: what its graphs take later is no part of that, and the signal of it ends nothing any more. */
  detach(): void {
    const { onWarning } = this.#watcher;
    this.#watcher = { onWarning };
  }

  async has(path: string): Promise<boolean> {
    return path === MANIFEST_FILE ? (await this.#readManifest()) !== null : this.#files.has(path);
  }

  async bytes(path: string): Promise<Uint8Array> {
    if (path === MANIFEST_FILE) {
      const manifest = await this.#readManifest();
      if (manifest === null) throw new ArtifactError(`${this.where} has no ${MANIFEST_FILE}`);
      return manifest;
    }
    const info = this.#info(path);
    const store = (await this.#memory.isComplete(info)) ? this.#memory : this.#cached;
    return readWhole(path, info, store);
  }

  /** Files are in the store under the hash that they were checked against. */
  async sha256(path: string): Promise<string> {
    return this.#info(path).sha256;
  }

  async prepare(files: ReadonlyMap<string, FileInfo>, hashes: boolean): Promise<void> {
    const bytes = (await this.#readManifest()) as Bytes;
    const needed = neededFiles(parseManifest(bytes, `${this.where}/${MANIFEST_FILE}`));
    await this.#write(() => this.#cached.announce(this.where, bytes));
    await this.fill(new Map([...needed].filter(([name]) => files.has(name))), hashes);
    if (this.#isAllKept) await this.#write(() => this.#cached.settle(this.where, bytes));
  }

  /** Make sure that these files are in the store, and that no others are asked for. */
  async fill(files: ReadonlyMap<string, FileInfo>, hashes: boolean): Promise<void> {
    this.#files = files;
    const totalBytes = [...files.values()].reduce((sum, info) => sum + info.bytes, 0);
    let before = 0;
    const wrong: string[] = [];
    // Small files first: what is missing shows before the weights are downloaded.
    for (const [name, info] of [...files].sort(([, left], [, right]) => left.bytes - right.bytes)) {
      if (wrong.length > 0 && info.bytes > PIECE_BYTES) break;
      const report = (loaded: number) =>
        this.#watcher.onProgress?.({ stage: "download", file: name, loadedBytes: before + loaded, totalBytes });
      try {
        await this.#fillOne(name, info, hashes, report);
      } catch (error) {
        if (!(error instanceof ArtifactError) || error instanceof ConnectionError) throw error;
        wrong.push(error.message);
      }
      report(info.bytes);
      before += info.bytes;
    }
    if (wrong.length > 0) throw new ArtifactError(`${this.where} is damaged: ${wrong.join("; ")}`);
  }

  async graph(graph: string, weights: string): Promise<GraphSource> {
    const { signal, onProgress } = this.#watcher;
    signal?.throwIfAborted();
    const totalBytes = this.#info(weights).bytes;
    onProgress?.({ stage: "open", file: null, loadedBytes: 0, totalBytes });
    const data = await this.bytes(weights);
    return { model: await this.bytes(graph), externalData: [{ path: weights, data }] };
  }

  folder(location: string): FolderSource {
    return new FetchedFolder(new URL(location, self.location.href).href.replace(/\/+$/, ""));
  }

  /** One file into the store; into memory where the store has no room for it. */
  async #fillOne(name: string, info: FileInfo, hashes: boolean, onBytes: (loaded: number) => void): Promise<void> {
    const file = { name, address: `${this.where}/${inAddress(name)}`, info };
    const watcher = { signal: this.#watcher.signal, onBytes };
    if (await this.#cached.isComplete(info)) {
      if (!hashes) return;
      const found = await digest(await readWhole(name, info, this.#cached));
      if (found === info.sha256) return;
      await this.#cached.remove(info);
    }
    try {
      await download(file, this.#cached, watcher);
    } catch (error) {
      if ((error as Error).name !== "QuotaExceededError") throw error;
      this.#watcher.onWarning?.(
        `${name}: the browser has no room to keep ${info.bytes} bytes; they stay in memory and are downloaded again next time`,
      );
      for (let index = 0; index < pieceCount(info); index++) {
        const piece = await this.#cached.piece(info, index);
        if (piece === null) break;
        await this.#memory.keep(info, index, piece);
      }
      await this.#cached.remove(info);
      this.#isAllKept = false;
      await download(file, this.#memory, watcher);
    }
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
  async #readManifest(): Promise<Bytes | null> {
    if (this.#manifest !== undefined) return this.#manifest;
    const address = `${this.where}/${MANIFEST_FILE}`;
    const kept = await this.#cached.manifest(this.where);
    const found = await fetchManifest(address, kept === null ? PATIENCE_MS : SHORT_PATIENCE_MS, this.#watcher.signal);
    if (kept === null) {
      if (found.isMissing) return null; // it may be uploaded a moment later
      if (found.bytes === null) {
        throw new ConnectionError(
          `${address} cannot be reached (${found.reason}) and is not in the cache; connect and load again`,
        );
      }
      this.#manifest = found.bytes;
      return found.bytes;
    }
    const reason = found.bytes === null ? found.reason : findFault(found.bytes, address);
    if (reason !== null) {
      this.#watcher.onWarning?.(`${address} cannot be had (${reason}); the artifact in the cache is used as it is`);
    }
    this.#manifest = reason === null ? (found.bytes as Bytes) : new Uint8Array(kept);
    return this.#manifest;
  }

  #info(path: string): FileInfo {
    const info = this.#files.get(path);
    if (info === undefined) throw new ArtifactError(`${this.where} has no ${path}; export the artifact again`);
    return info;
  }
}

/** What a server has at the address of a manifest. */
interface FoundManifest {
  readonly bytes: Bytes | null;
  /** Why there are no bytes. */
  readonly reason: string;
  /** The server answers, and has no such file. */
  readonly isMissing: boolean;
}

/** Throws the signal's reason alone. */
async function fetchManifest(
  address: string,
  patience: number,
  signal: AbortSignal | undefined,
): Promise<FoundManifest> {
  const ending = new AbortController();
  const abort = () => ending.abort();
  signal?.throwIfAborted();
  signal?.addEventListener("abort", abort);
  const timer = setTimeout(abort, patience);
  try {
    const response = await fetch(address, { cache: "no-store", signal: ending.signal });
    const { ok, status } = response;
    const bytes = ok ? new Uint8Array(await response.arrayBuffer()) : null;
    return { bytes, reason: `HTTP ${status}`, isMissing: status === 404 || status === 410 };
  } catch (error) {
    signal?.throwIfAborted();
    const reason = ending.signal.aborted ? `no answer in ${patience / 1000} s` : (error as Error).message;
    return { bytes: null, reason, isMissing: false };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Why `bytes` are no manifest, such as the page of a network that wants a login; null where they are one. */
function findFault(bytes: Uint8Array, where: string): string | null {
  try {
    parseManifest(bytes, where);
    return null;
  } catch (error) {
    if (error instanceof ArtifactError) return error.message;
    throw error;
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
    if (piece === null || piece.length !== pieceBytes(info, index)) {
      await store.remove(info);
      throw new ArtifactError(`${name}: the browser dropped a part of it from its cache; load again to download it`);
    }
    whole.set(piece, index * PIECE_BYTES);
  }
  return whole;
}
