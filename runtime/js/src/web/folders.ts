/**
 * Adapter folders that are fetched, dropped onto a page or sent to a worker.
 *
 * Knows nothing about what is in the files.
 */

import { throwIfAborted } from "../core/abort.js";
import { ArtifactError, ConnectionError } from "../core/errors.js";
import type { FileProgress, FolderSource, Watch } from "../core/files.js";
import { inAddress } from "../core/names.js";
import { digest } from "./hash.js";

/** What a runtime reads of an adapter; the last two may be missing. */
export const ADAPTER_FILES: readonly string[] = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "receipt.json",
  "config.json",
];

/**
 * A small folder at an address, an adapter's for example; files are fetched when they are asked for, and kept as long as
 * this object is.
 */
export class FetchedFolder implements FolderSource {
  readonly where: string;
  readonly #watch: Watch;
  readonly #files = new Map<string, Promise<Uint8Array | null>>();

  constructor(where: string, watch: Watch = {}) {
    this.where = where;
    this.#watch = watch;
  }

  reading(watch: Watch): FolderSource {
    return new FetchedFolder(this.where, watch);
  }

  async has(path: string): Promise<boolean> {
    return (await this.#fetch(path)) !== null;
  }

  async bytes(path: string): Promise<Uint8Array> {
    const bytes = await this.#fetch(path);
    if (bytes === null) throw new ArtifactError(`${this.where} has no ${path}; upload the whole folder`);
    return bytes;
  }

  async sha256(path: string): Promise<string> {
    return digest(await this.bytes(path));
  }

  #fetch(path: string): Promise<Uint8Array | null> {
    const begun = this.#files.get(path) ?? fetchFile(this.where, path, this.#watch);
    this.#files.set(path, begun);
    begun.catch(() => this.#files.delete(path)); // the next try may succeed
    return begun;
  }
}

async function fetchFile(where: string, file: string, { signal, onProgress }: Watch): Promise<Uint8Array | null> {
  const address = `${where}/${inAddress(file)}`;
  let response: Response;
  try {
    // "no-cache" asks the server whether the file is still the same: an adapter may have been uploaded anew.
    response = await fetch(address, { cache: "no-cache", signal: signal ?? null });
    if (response.ok) return await readBody(response, file, onProgress);
  } catch (error) {
    throwIfAborted(signal);
    throw new ConnectionError(`${address} cannot be reached (${(error as Error).message}); connect and try again`);
  }
  const { status } = response;
  if (status === 404 || status === 410) return null;
  const advice = status === 401 || status === 403 ? "let this page read it" : "try again later";
  throw new ConnectionError(`${address} cannot be reached (HTTP ${status}); ${advice}`);
}

/** The bytes of an answer, as they come. */
async function readBody(
  response: Response,
  file: string,
  onProgress: ((progress: FileProgress) => void) | undefined,
): Promise<Uint8Array> {
  if (onProgress === undefined || response.body === null) return new Uint8Array(await response.arrayBuffer());
  const length = response.headers.get("content-length");
  // Of a compressed answer it is the compressed length, which one from another origin does not tell.
  const isKnown = length !== null && response.type === "basic" && !response.headers.has("content-encoding");
  const totalBytes = isKnown ? Number(length) : null;
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let loadedBytes = 0;
  const reader = response.body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value);
    loadedBytes += next.value.length;
    onProgress({ file, loadedBytes, totalBytes });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/**
 * Files by their path in the folder: what a page was given, and what a page gives to its worker. Blobs stay where the
 * browser keeps them, on the disk if they came from there, until they are read.
 */
export interface FolderCopy {
  readonly where: string;
  readonly files: ReadonlyMap<string, Blob>;
}

/** A copy as a folder to read from. */
export class CopiedFolder implements FolderSource {
  readonly where: string;
  readonly #files: ReadonlyMap<string, Blob>;

  constructor({ where, files }: FolderCopy) {
    this.where = where;
    this.#files = files;
  }

  async has(path: string): Promise<boolean> {
    return this.#files.has(path);
  }

  /** The same files, which can be sent to a worker. */
  get copy(): FolderCopy {
    return { where: this.where, files: this.#files };
  }

  async bytes(path: string): Promise<Uint8Array> {
    const blob = this.#files.get(path);
    if (blob === undefined) {
      const names = [...this.#files.keys()].join(", ") || "nothing";
      throw new ArtifactError(`${this.where} has no ${path} (it has ${names}); give a folder as PEFT saves it`);
    }
    try {
      return new Uint8Array(await blob.arrayBuffer());
    } catch (error) {
      const reason = (error as Error).message;
      throw new ArtifactError(`${this.where}/${path} cannot be read (${reason}); give the folder once more`);
    }
  }

  async sha256(path: string): Promise<string> {
    return digest(await this.bytes(path));
  }
}

/** The files of an adapter folder in a form that can be sent. */
export async function copyAdapter(folder: FolderSource, watch: Watch): Promise<FolderCopy> {
  if (folder instanceof CopiedFolder) return folder.copy;
  const source = folder.reading?.(watch) ?? folder;
  const files = new Map<string, Blob>();
  for (const name of ADAPTER_FILES) {
    throwIfAborted(watch.signal);
    if (await source.has(name)) files.set(name, new Blob([new Uint8Array(await source.bytes(name))]));
  }
  return { where: folder.where, files };
}

/** Files that a user dropped or chose, as an adapter folder; what lies around or beside it is left out. */
export async function filesFolder(files: Iterable<File>, where: string): Promise<FolderSource> {
  const found = new Map<string, Blob>();
  for (const file of files) {
    if (!ADAPTER_FILES.includes(file.name)) continue;
    if (found.has(file.name)) throw new ArtifactError(`${where} has several ${file.name}; give one adapter at a time`);
    found.set(file.name, file);
  }
  return new CopiedFolder({ where, files: found });
}
