/**
 * Folders of files that were dropped onto a page or sent to a worker.
 *
 * Knows nothing about what is in the files.
 */

import { throwIfAborted } from "../core/abort.js";
import { ArtifactError } from "../core/errors.js";
import type { FolderSource, Watch } from "../core/files.js";
import { ADAPTER_FILES } from "../core/needed-files.js";
import { digest } from "./hash.js";

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
