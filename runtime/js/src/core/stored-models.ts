/**
 * Artifacts of servers that are kept on a device: a folder each, listed, measured, brought, deleted.
 *
 * Knows nothing about sessions, nor where the folders lie.
 */

import type { AddressOptions } from "./address.js";
import { type DownloadOptions, downloadFolder } from "./download-folder.js";
import { fetchManifest } from "./fetch-manifest.js";
import { besides, hashingOf } from "./file-place.js";
import { inFolder, readIfThere, type WritableFileSystem, writeWhole } from "./file-system.js";
import { type FileInfo, MANIFEST_FILE } from "./format.js";
import { parseManifest } from "./manifest.js";
import {
  type Estimate,
  type EstimateOptions,
  findRoom,
  inUse,
  type MakeRoom,
  type Models,
  noManifest,
  noRoom,
  type StoredModel,
} from "./models.js";
import { bytesOf, neededFiles } from "./needed-files.js";
import { resolve } from "./resolve.js";

const RECORD_FILE = "stored.json"; // of which address a folder is, and when it was last used

/** Options of `bring`. */
export interface BringOptions extends Omit<DownloadOptions, "files"> {
  readonly makeRoom?: MakeRoom | undefined;
}

/** What a place adds to how an address is asked for, such as a token. */
export type Advise = (address: string, options: AddressOptions) => AddressOptions;

/** The artifacts in one folder of a device. */
export class StoredModels implements Models {
  readonly #files: WritableFileSystem;
  readonly #root: string;
  readonly #advise: Advise;
  readonly #open = new Map<string, number>();

  constructor(files: WritableFileSystem, root: string, advise: Advise = () => ({})) {
    this.#files = files;
    this.#root = root;
    this.#advise = advise;
  }

  async list(): Promise<readonly StoredModel[]> {
    const found: StoredModel[] = [];
    for (const name of await this.#files.list(this.#root)) {
      const folder = inFolder(this.#root, name);
      const record = await this.#readRecord(folder);
      if (record !== null) found.push(await this.#describe(folder, record));
    }
    return found;
  }

  async size(): Promise<number> {
    return (await this.list()).reduce((sum, model) => sum + model.storedBytes, 0);
  }

  async delete(address: string): Promise<void> {
    const { where } = await resolve(address);
    if (this.#open.has(where)) throw inUse(where);
    await this.#files.removeFolder(await this.folderOf(where));
  }

  /** A device deletes nothing of an app by itself, but for folders that it calls caches. */
  async persist(): Promise<boolean> {
    return true;
  }

  async estimate(address: string, given: EstimateOptions = {}): Promise<Estimate> {
    const options = { ...given, ...this.#advise(address, given) };
    const remote = await resolve(address, options);
    const folder = await this.folderOf(remote.where);
    const stored = await readIfThere(this.#files, inFolder(folder, MANIFEST_FILE));
    const found = await fetchManifest(remote, stored, options);
    if (found === null) throw noManifest(remote.where);
    return this.#estimate(folder, neededFiles(found.manifest));
  }

  /** Make sure that the artifact at `address` is there, and give its folder. Throws as `downloadFolder`. */
  async bring(address: string, given: BringOptions): Promise<string> {
    const options = { ...given, ...this.#advise(address, given) };
    const { where } = await resolve(address);
    const folder = await this.folderOf(where);
    const files = this.#files;
    const { makeRoom } = options;
    const checkRoom = async (needed: ReadonlyMap<string, FileInfo>) => {
      const room = await findRoom(where, () => this.#estimate(folder, needed), this, makeRoom);
      if (!room.fits) throw noRoom(where, room);
      await this.#writeRecord(folder, where); // a download that breaks off is listed too
    };
    try {
      await downloadFolder(address, folder, { ...options, files, checkRoom });
    } catch (error) {
      const isEmpty = (await files.list(folder)).length === 0;
      if (isEmpty) await files.removeFolder(folder).catch(() => {}); // what failed first is what is told
      throw error;
    }
    await this.#writeRecord(folder, where);
    return folder;
  }

  /** The same, and nothing deletes it until `close` is called. */
  async open(address: string, options: BringOptions): Promise<{ readonly folder: string; readonly close: () => void }> {
    const close = await this.use(address);
    try {
      return { folder: await this.bring(address, options), close };
    } catch (error) {
      close();
      throw error;
    }
  }

  /** Say that `address` is open, so that nothing deletes it, until what is returned is called. */
  async use(address: string): Promise<() => void> {
    const { where } = await resolve(address);
    this.#open.set(where, (this.#open.get(where) ?? 0) + 1);
    return () => {
      const left = (this.#open.get(where) ?? 1) - 1;
      if (left === 0) this.#open.delete(where);
      else this.#open.set(where, left);
    };
  }

  /** A folder with a name that people can read and that is this address' alone. */
  async folderOf(where: string): Promise<string> {
    const hash = await hashingOf(this.#files).digest(Uint8Array.from(encodeURIComponent(where), toByte));
    const readable = where.replace(/^[a-z]+:\/*/i, "").replace(/[?].*$/, "");
    const name = readable.replace(/[^A-Za-z0-9._-]+/g, "-").slice(-64);
    return inFolder(this.#root, `${name.replace(/^[^A-Za-z0-9]+/, "")}-${hash.slice(0, 16)}`);
  }

  async #describe(folder: string, { address, usedAt }: StoredRecord): Promise<StoredModel> {
    const bytes = await readIfThere(this.#files, inFolder(folder, MANIFEST_FILE));
    const isInUse = this.#open.has(address);
    const storedBytes = await this.#weigh(folder);
    if (bytes === null) return { address, name: null, bytes: null, storedBytes, isComplete: false, usedAt, isInUse };
    const manifest = parseManifest(bytes, inFolder(folder, MANIFEST_FILE));
    const whole = bytesOf(neededFiles(manifest));
    return { address, name: manifest.model.name, bytes: whole, storedBytes, isComplete: true, usedAt, isInUse };
  }

  async #estimate(folder: string, needed: ReadonlyMap<string, FileInfo>): Promise<Estimate> {
    const files = this.#files;
    let storedBytes = 0;
    for (const [name, info] of needed) {
      const path = inFolder(folder, name);
      const { part, done } = besides(path, info);
      for (const place of [path, done, part]) {
        if (!(await files.exists(place))) continue;
        const size = await files.size(place);
        if (place === path && size !== info.bytes) continue; // of another upload
        storedBytes += Math.min(size, info.bytes);
        break;
      }
    }
    const bytes = bytesOf(needed);
    await files.makeFolder(this.#root);
    const freeBytes = (await files.freeBytes?.(this.#root)) ?? null;
    const missingBytes = bytes - storedBytes;
    return { bytes, storedBytes, missingBytes, freeBytes, fits: freeBytes === null || missingBytes <= freeBytes };
  }

  /** Bytes of everything in a folder. */
  async #weigh(folder: string): Promise<number> {
    let sum = 0;
    for (const name of await this.#files.list(folder)) {
      const path = inFolder(folder, name);
      sum += (await this.#files.exists(path)) ? await this.#files.size(path) : await this.#weigh(path);
    }
    return sum;
  }

  async #readRecord(folder: string): Promise<StoredRecord | null> {
    const bytes = await readIfThere(this.#files, inFolder(folder, RECORD_FILE));
    if (bytes === null) return null;
    const { address, usedAt } = JSON.parse(new TextDecoder().decode(bytes)) as { address: string; usedAt: string };
    return { address: decodeURI(address), usedAt: new Date(usedAt) };
  }

  #writeRecord(folder: string, address: string): Promise<void> {
    const record = JSON.stringify({ address: encodeURI(address), usedAt: new Date().toISOString() });
    return writeWhole(this.#files, inFolder(folder, RECORD_FILE), Uint8Array.from(record, toByte));
  }
}

interface StoredRecord {
  readonly address: string;
  readonly usedAt: Date;
}

/** Of a character of ASCII; not every engine that runs this has a TextEncoder. */
function toByte(character: string): number {
  return character.charCodeAt(0);
}
