/**
 * An artifact of a server as a folder on a device: Node's disk, a phone's storage.
 *
 * Knows nothing about sessions. What comes lies beside the files it will replace until all of it is there and checked, so
 * that an artifact which is there stays usable to the end; the manifest is written last.
 */

import { throwIfAborted } from "./abort.js";
import type { AddressOptions, Remote } from "./address.js";
import { bringEach, type DownloadProgress } from "./bring-each.js";
import { ArtifactError, InputError } from "./errors.js";
import { type FoundManifest, fetchManifest } from "./fetch-manifest.js";
import { besides, hashingOf, isFileRight, LEFT_OVER, placeAt } from "./file-place.js";
import { inFolder, readIfThere, type WritableFileSystem, writeWhole } from "./file-system.js";
import { type FileInfo, MANIFEST_FILE } from "./format.js";
import { parseManifest } from "./manifest.js";
import { noManifest } from "./models.js";
import { neededFiles } from "./needed-files.js";
import { oneLine } from "./parse-json.js";
import { PIECE_BYTES } from "./piece-check.js";
import { resolve } from "./resolve.js";
import { transfer } from "./transfer.js";

/** Options of a download into a folder. */
export interface DownloadOptions extends AddressOptions {
  readonly files: WritableFileSystem;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Called with the files that are needed before any of them is asked for; rejects where there is no room. */
  readonly checkRoom?: ((needed: ReadonlyMap<string, FileInfo>) => Promise<void>) | undefined;
}

/** Downloads by their folder: two to one folder would write into the same files. */
const running = new Map<string, Promise<void>>();

/**
 * Make `folder` the artifact at `address`. An artifact that is there is left as it is, with a warning, where the server
 * cannot be reached or has no manifest to give. Throws ConnectionError where what came is kept and calling it again goes
 * on, ArtifactError where the server has other files than its manifest says.
 */
export async function downloadFolder(address: string, folder: string, options: DownloadOptions): Promise<void> {
  const before = running.get(folder) ?? Promise.resolve();
  const mine = before.catch(() => {}).then(() => downloadAlone(address, folder, options));
  running.set(folder, mine);
  try {
    await mine;
  } finally {
    if (running.get(folder) === mine) running.delete(folder);
  }
}

async function downloadAlone(address: string, folder: string, options: DownloadOptions): Promise<void> {
  const { files, signal } = options;
  throwIfAborted(signal);
  const remote = await resolve(address, options);
  const release = await begin(folder, options);
  try {
    const stored = await storedManifest(files, folder);
    const found = await fetchManifest(remote, stored?.bytes ?? null, options);
    if (found === null) throw noManifest(remote.where);
    if (found.isFresh) await bring(found, stored?.files ?? new Map(), folder, options);
  } finally {
    await release?.();
  }
}

/** The folder, and its lock; throws InputError where nothing can be written. */
async function begin(folder: string, { files, signal }: DownloadOptions): Promise<(() => unknown) | undefined> {
  try {
    await files.makeFolder(folder);
    return await files.lock?.(inFolder(folder, "download.lock"), signal);
  } catch (error) {
    throwIfAborted(signal);
    const reason = oneLine((error as Error).message);
    throw new InputError(
      `${folder} cannot be written (${reason}); give another folder for downloads, in Node as \`cache\``,
    );
  }
}

/** The manifest of the artifact that is there, whole: it was written when its files were. */
async function storedManifest(files: WritableFileSystem, folder: string) {
  const bytes = await readIfThere(files, inFolder(folder, MANIFEST_FILE));
  if (bytes === null) return null;
  try {
    return { bytes, files: parseManifest(bytes).files };
  } catch (error) {
    if (error instanceof ArtifactError) return null;
    throw error;
  }
}

/** Bring what is missing, then put it at its place. */
async function bring(
  { bytes, manifest, remote }: FoundManifest,
  known: ReadonlyMap<string, FileInfo>,
  folder: string,
  options: DownloadOptions,
): Promise<void> {
  const { files, onProgress } = options;
  const needed = neededFiles(manifest);
  await options.checkRoom?.(needed);
  const fresh = new Map<string, string>(); // from where each new file goes to its place
  const bringOne = async (name: string, info: FileInfo, onBytes: (loaded: number) => void) => {
    const path = inFolder(folder, name);
    if (await isThere(files, path, info, known.get(name))) return;
    fresh.set(path, await bringFile(name, path, info, remote, options, onBytes));
  };
  await bringEach(remote.where, needed, bringOne, onProgress);
  const manifestPath = inFolder(folder, MANIFEST_FILE);
  if (fresh.size > 0) await files.remove(manifestPath); // no artifact while files of two are mixed
  for (const [path, from] of fresh) await files.rename(from, path);
  await writeWhole(files, manifestPath, bytes);
  await sweep(files, folder, [...known.keys()], new Set(needed.keys()));
}

async function isThere(
  files: WritableFileSystem,
  path: string,
  info: FileInfo,
  known: FileInfo | undefined,
): Promise<boolean> {
  if (!(await files.exists(path)) || (await files.size(path)) !== info.bytes) return false;
  return known !== undefined ? known.sha256 === info.sha256 : isFileRight(files, path, info);
}

/** One file beside its place, whole and checked; gives where it is. */
async function bringFile(
  name: string,
  path: string,
  info: FileInfo,
  remote: Remote,
  options: DownloadOptions,
  onBytes: (loaded: number) => void,
): Promise<string> {
  const { files, signal, headers = {} } = options;
  const { part, done } = besides(path, info);
  if ((await files.exists(done)) && (await files.size(done)) === info.bytes) return done;
  await files.makeFolder(path.slice(0, path.lastIndexOf("/")));
  const address = remote.addressOf(name);
  if (files.download !== undefined && info.bytes > PIECE_BYTES && !(await files.exists(part))) {
    // Whatever native code could not bring is streamed.
    await files.download(address, part, { headers, signal, onBytes }).catch(() => {});
    throwIfAborted(signal);
  }
  const place = placeAt(files, part, done);
  await transfer({ name, address, info }, place, { ...options, hashing: hashingOf(files), onBytes });
  return done;
}

/** Remove the files of the artifact that was there before, and what is left of downloads that were given up. */
async function sweep(
  files: WritableFileSystem,
  folder: string,
  before: readonly string[],
  needed: ReadonlySet<string>,
): Promise<void> {
  for (const name of before) if (!needed.has(name)) await files.remove(inFolder(folder, name));
  const parents = new Set([...needed, ...before].map((name) => name.slice(0, Math.max(0, name.lastIndexOf("/")))));
  for (const parent of parents) {
    const inside = parent === "" ? folder : inFolder(folder, parent);
    for (const name of await files.list(inside)) {
      if (LEFT_OVER.test(name)) await files.remove(inFolder(inside, name));
    }
  }
}
