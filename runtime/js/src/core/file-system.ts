/**
 * What the runtime needs of the files of a device: a disk in Node, app storage in React Native.
 *
 * Knows nothing about artifacts. Paths are those that the place gives, with "/" between their parts; in React Native they
 * may be `file://` addresses.
 */

import type { Bytes } from "./bytes.js";
import { inAddress } from "./names.js";

export const ADDRESS = "file://";

/** Reading. */
export interface FileSystem {
  /** Whether there is a file, not a folder. */
  exists(path: string): Promise<boolean>;
  size(path: string): Promise<number>;
  /** `length` bytes from `offset` on, fewer where the file ends. Rejects when there is no such file. */
  readBytes(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** SHA-256 of bytes, hex, by native code. Without it JavaScript hashes; Hermes needs about a second for each MB. */
  digest?(bytes: Uint8Array): Promise<string>;
}

/** Writing, for downloads. */
export interface WritableFileSystem extends FileSystem {
  /** Make a folder and those it lies in; one that is there stays. */
  makeFolder(path: string): Promise<void>;
  /** Put `bytes` at the end of a file, which is made when it is not there. */
  append(path: string, bytes: Uint8Array): Promise<void>;
  /** Keep the first `length` bytes of a file. */
  truncate(path: string, length: number): Promise<void>;
  /** Remove a file; none is no error. */
  remove(path: string): Promise<void>;
  /** Give a file another name, in place of a file that has it. */
  rename(from: string, to: string): Promise<void>;
  /** Names in a folder, of files and folders; none where it is not there. */
  list(path: string): Promise<readonly string[]>;
  /** Remove a folder with all that is in it; none is no error. */
  removeFolder(path: string): Promise<void>;
  /** Where artifacts of servers are kept if nobody says otherwise. */
  readonly cacheFolder?: string;
  /** Bytes that are free on the device. */
  freeBytes?(path: string): Promise<number>;
  /**
   * Bring the whole of a large file by native code, which may go on while the app sleeps. What it brought is checked as
   * any other bytes are; where it fails, the file is streamed.
   */
  download?(address: string, path: string, options: NativeDownload): Promise<void>;
  /** Wait until no other process has `path`, and have it until what is returned is called. */
  lock?(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>>;
}

export interface NativeDownload {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
  readonly onBytes: (loaded: number) => void;
}

/** A file of a folder; `name` has "/" between its parts. */
export function inFolder(folder: string, name: string): string {
  const inside = isAddress(folder) ? inAddress(name) : name;
  return `${folder.replace(/\/+$/, "")}/${inside}`;
}

/** Whether a path is written as an address, with escapes. */
export function isAddress(path: string): boolean {
  return path.startsWith(ADDRESS);
}

/** Bytes of a small file; null where there is none. */
export async function readIfThere(files: FileSystem, path: string): Promise<Bytes | null> {
  if (!(await files.exists(path))) return null;
  return new Uint8Array(await files.readBytes(path, 0, await files.size(path)));
}

/** Put a small file at its place, whole or not at all. */
export async function writeWhole(files: WritableFileSystem, path: string, bytes: Uint8Array): Promise<void> {
  const part = `${path}.part`;
  await files.remove(part);
  await files.append(part, bytes);
  await files.rename(part, path);
}
