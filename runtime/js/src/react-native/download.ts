/**
 * Bring an artifact from a server into app storage: checked by its hashes, going on where it stopped.
 *
 * Knows nothing about sessions. A file is there under its name only when it is whole, and the manifest is written last,
 * so that a folder is an artifact or is none.
 */

import { throwIfAborted } from "../core/abort.js";
import { ArtifactError, ConnectionError } from "../core/errors.js";
import { type FileInfo, MANIFEST_FILE } from "../core/format.js";
import { parseManifest } from "../core/manifest.js";
import { inAddress } from "../core/names.js";
import { inFolder, nativePath, type WritableFileSystem } from "./files.js";
import { hashFile } from "./storage.js";

const PIECE_BYTES = 1 << 20; // written at once

/** Bytes of all files of the artifact; those that were there before count as loaded. */
export interface DownloadProgress {
  readonly file: string;
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/** Options of `downloadArtifact`. */
export interface DownloadOptions {
  readonly files: WritableFileSystem;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Must give the body as a stream: Expo's does, and is the default in its apps; React Native's own does not. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Make `folder` the artifact at `address`. Throws ConnectionError where what came is kept and calling it again goes on,
 * ArtifactError where the server has other files than its manifest says, after which nothing of such a file is left.
 */
export async function downloadArtifact(address: string, folder: string, options: DownloadOptions): Promise<void> {
  nativePath(folder); // refuses other kinds of addresses before anything is written
  const { files, onProgress } = options;
  const from = address.replace(/\/+$/, "");
  const manifestPath = inFolder(folder, MANIFEST_FILE);
  const manifestBytes = await fetchWhole(`${from}/${MANIFEST_FILE}`, options);
  const wanted = parseManifest(manifestBytes, `${from}/${MANIFEST_FILE}`).files;
  const known = await knownFiles(files, manifestPath);
  const isSame = ([name, info]: readonly [string, FileInfo]) => known.get(name)?.sha256 === info.sha256;
  if (![...wanted].every(isSame)) await files.remove(manifestPath); // no artifact while files of two are mixed
  const totalBytes = [...wanted.values()].reduce((sum, info) => sum + info.bytes, 0);
  let before = 0;
  // Small files first: what is missing shows before the weights are downloaded.
  for (const [name, info] of [...wanted].sort(([, left], [, right]) => left.bytes - right.bytes)) {
    const path = inFolder(folder, name);
    const report = (loaded: number) => onProgress?.({ file: name, loadedBytes: before + loaded, totalBytes });
    if (!(await isWhole(files, path, info, isSame([name, info])))) {
      await files.makeFolder(path.slice(0, path.lastIndexOf("/")));
      await fetchFile({ name, address: `${from}/${inAddress(name)}`, path, info }, options, report);
    }
    report(info.bytes);
    before += info.bytes;
  }
  await files.remove(`${manifestPath}.part`);
  await files.append(`${manifestPath}.part`, manifestBytes);
  await files.rename(`${manifestPath}.part`, manifestPath);
}

interface RemoteFile {
  readonly name: string;
  readonly address: string;
  readonly path: string;
  readonly info: FileInfo;
}

/** Files of the artifact that is there, whole: its manifest was written when they were. */
async function knownFiles(files: WritableFileSystem, path: string): Promise<ReadonlyMap<string, FileInfo>> {
  if (!(await files.exists(path))) return new Map();
  try {
    return parseManifest(await files.readBytes(path, 0, await files.size(path))).files;
  } catch (error) {
    if (error instanceof ArtifactError) return new Map();
    throw error;
  }
}

async function isWhole(files: WritableFileSystem, path: string, info: FileInfo, isKnown: boolean): Promise<boolean> {
  if (!(await files.exists(path)) || (await files.size(path)) !== info.bytes) return false;
  return isKnown || (await hashFile(files, path)) === info.sha256;
}

/** One file under its name, by way of `NAME.part`, which is kept when the connection is lost. */
async function fetchFile(file: RemoteFile, options: DownloadOptions, report: (loaded: number) => void): Promise<void> {
  const { files } = options;
  const { info, name } = file;
  const part = `${file.path}.part`;
  let loaded = (await files.exists(part)) ? await files.size(part) : 0;
  if (loaded > info.bytes) {
    await files.remove(part);
    loaded = 0;
  }
  const resumedAt = loaded;
  report(loaded);
  if (loaded < info.bytes) {
    const response = await askOrForget(file, options, loaded);
    if (loaded > 0 && response.status !== 206) {
      await response.body?.cancel();
      await files.remove(part);
      return fetchFile(file, options, report); // a server without ranges begins anew
    }
    for await (const piece of pieces(response, file, options)) {
      if (loaded + piece.length > info.bytes) {
        await files.remove(part);
        throw new ArtifactError(`${name}: the server has more than ${info.bytes} bytes; upload the artifact again`);
      }
      await files.append(part, piece);
      loaded += piece.length;
      report(loaded);
    }
  }
  if (loaded < info.bytes) throw lost(file.address, `it ended at byte ${loaded} of ${info.bytes}`);
  const found = await hashFile(files, part);
  if (found === info.sha256) return files.rename(part, file.path);
  await files.remove(part);
  if (resumedAt > 0) return fetchFile(file, options, report); // the beginning may be of another upload; once without it
  throw new ArtifactError(
    `${name}: sha256 ${found.slice(0, 12)}…, expected ${info.sha256.slice(0, 12)}…; nothing of it was kept, upload the artifact again`,
  );
}

/** An answer with the rest of a file; where the server has no such rest, nothing of the file is kept. */
async function askOrForget(file: RemoteFile, options: DownloadOptions, start: number): Promise<Response> {
  try {
    return await ask(file.address, options, start);
  } catch (error) {
    if (error instanceof ArtifactError && !(error instanceof ConnectionError)) {
      await options.files.remove(`${file.path}.part`);
    }
    throw error;
  }
}

/** The body in pieces worth a write. What came before the connection broke is given before the error is thrown. */
async function* pieces(response: Response, file: RemoteFile, { signal }: DownloadOptions): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined)
    throw new Error("this fetch gives no stream; give one that does, such as that of expo/fetch");
  let waiting: Uint8Array[] = [];
  let count = 0;
  const take = () => {
    const piece = joined(waiting, count);
    waiting = [];
    count = 0;
    return piece;
  };
  try {
    for (;;) {
      const next = await reader.read().catch((error: unknown) => error as Error);
      if (next instanceof Error || next.done || signal?.aborted) {
        if (count > 0) yield take();
        throwIfAborted(signal);
        if (next instanceof Error) throw lost(file.address, next.message);
        return;
      }
      waiting.push(next.value);
      count += next.value.length;
      if (count >= PIECE_BYTES) yield take();
    }
  } finally {
    await reader.cancel().catch(() => {}); // lets go of the connection when the reader stops early
  }
}

function joined(parts: readonly Uint8Array[], count: number): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(count);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

async function fetchWhole(address: string, options: DownloadOptions): Promise<Uint8Array> {
  const response = await ask(address, options, 0);
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw lost(address, (error as Error).message);
  }
}

async function ask(address: string, options: DownloadOptions, start: number): Promise<Response> {
  const { fetch = globalThis.fetch, signal } = options;
  throwIfAborted(signal);
  const range = start > 0 ? { headers: { range: `bytes=${start}-` } } : {};
  let response: Response;
  try {
    response = await fetch(address, { ...range, ...(signal === undefined ? {} : { signal }) });
  } catch (error) {
    throwIfAborted(signal);
    throw lost(address, (error as Error).message);
  }
  if (response.ok) return response;
  if (response.status >= 500 || response.status === 408 || response.status === 429) {
    throw lost(address, `HTTP ${response.status}`);
  }
  throw new ArtifactError(
    `HTTP ${response.status} at ${address}; upload the whole artifact folder, or mend the address`,
  );
}

function lost(address: string, reason: string): ConnectionError {
  return new ConnectionError(
    `the connection to ${address} was lost (${reason}); what came is kept, try again to go on`,
  );
}
