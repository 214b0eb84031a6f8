/**
 * Adapter folders that are fetched, dropped onto a page or sent to a worker.
 *
 * Knows nothing about what is in the files.
 */

import { ArtifactError, ConnectionError } from "../core/errors.js";
import type { FolderSource } from "../core/files.js";
import { inAddress } from "../core/names.js";
import { digest } from "./hash.js";

/** What a runtime reads of an adapter; the last two may be missing. */
export const ADAPTER_FILES: readonly string[] = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "receipt.json",
  "config.json",
];

/** A small folder at an address, an adapter's for example; files are fetched when they are asked for. */
export class FetchedFolder implements FolderSource {
  readonly where: string;
  readonly #files = new Map<string, Promise<Uint8Array | null>>();

  constructor(where: string) {
    this.where = where;
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
    const begun = this.#files.get(path) ?? fetchFile(`${this.where}/${inAddress(path)}`);
    this.#files.set(path, begun);
    begun.catch(() => this.#files.delete(path)); // the next try may succeed
    return begun;
  }
}

async function fetchFile(address: string): Promise<Uint8Array | null> {
  let response: Response;
  try {
    // "no-cache" asks the server whether the file is still the same: an adapter may have been uploaded anew.
    response = await fetch(address, { cache: "no-cache" });
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new ConnectionError(`${address} cannot be reached (${(error as Error).message}); connect and try again`);
  }
  const { status } = response;
  if (status === 404 || status === 410) return null;
  const advice = status === 401 || status === 403 ? "let this page read it" : "try again later";
  throw new ConnectionError(`${address} cannot be reached (HTTP ${status}); ${advice}`);
}

/** Files in memory by their path in the folder; what a page was given, and what a page gives to its worker. */
export interface FolderCopy {
  readonly where: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** A copy as a folder to read from. */
export class MemoryFolder implements FolderSource {
  readonly where: string;
  readonly #files: ReadonlyMap<string, Uint8Array>;

  constructor({ where, files }: FolderCopy) {
    this.where = where;
    this.#files = files;
  }

  async has(path: string): Promise<boolean> {
    return this.#files.has(path);
  }

  async bytes(path: string): Promise<Uint8Array> {
    const bytes = this.#files.get(path);
    if (bytes === undefined) {
      const names = [...this.#files.keys()].join(", ") || "nothing";
      throw new ArtifactError(`${this.where} has no ${path} (it has ${names}); give a folder as PEFT saves it`);
    }
    return bytes;
  }

  async sha256(path: string): Promise<string> {
    return digest(await this.bytes(path));
  }
}

/** The files of an adapter folder, read whole. */
export async function copyAdapter(folder: FolderSource): Promise<FolderCopy> {
  const files = new Map<string, Uint8Array>();
  for (const name of ADAPTER_FILES) if (await folder.has(name)) files.set(name, await folder.bytes(name));
  return { where: folder.where, files };
}

/** Files that a user dropped or chose, as an adapter folder; what lies around or beside it is left out. */
export async function filesFolder(files: Iterable<File>, where: string): Promise<FolderSource> {
  const read = new Map<string, Uint8Array>();
  for (const file of files) {
    if (!ADAPTER_FILES.includes(file.name)) continue;
    if (read.has(file.name)) throw new ArtifactError(`${where} has several ${file.name}; give one adapter at a time`);
    read.set(file.name, new Uint8Array(await file.arrayBuffer()));
  }
  return new MemoryFolder({ where, files: read });
}
