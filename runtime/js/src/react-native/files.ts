/**
 * What the runtime needs of a phone's files, and how it writes their addresses.
 *
 * Imports no file package: an app hands one in, `expoFiles` for expo-file-system.
 */

import { ArtifactError } from "../core/errors.js";
import { inAddress } from "../core/names.js";

/** Reading. Addresses are those that the app gives: paths, or `file://` addresses where its file package wants them. */
export interface FileSystem {
  /** Whether there is a file, not a folder. */
  exists(path: string): Promise<boolean>;
  size(path: string): Promise<number>;
  /** `length` bytes from `offset` on, fewer where the file ends. Rejects when there is no such file. */
  readBytes(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** SHA-256, hex, by native code. Without it JavaScript hashes, which Hermes needs about a second for each MB for. */
  sha256?(path: string): Promise<string>;
}

/** Writing, for downloads. */
export interface WritableFileSystem extends FileSystem {
  /** Make a folder and those it lies in; one that is there stays. */
  makeFolder(path: string): Promise<void>;
  /** Put `bytes` at the end of a file, which is made when it is not there. */
  append(path: string, bytes: Uint8Array): Promise<void>;
  /** Remove a file; none is no error. */
  remove(path: string): Promise<void>;
  /** Give a file another name, in place of a file that has it. */
  rename(from: string, to: string): Promise<void>;
}

const ADDRESS = "file://";

/** A file of a folder; `name` has "/" between its parts. */
export function inFolder(folder: string, name: string): string {
  const inside = isAddress(folder) ? inAddress(name) : name;
  return `${folder.replace(/\/+$/, "")}/${inside}`;
}

/** The path that onnxruntime opens: addresses hold escapes, which its binding for React Native leaves as they are. */
export function nativePath(address: string): string {
  const path = isAddress(address) ? decodeURIComponent(address.slice(ADDRESS.length)) : address;
  if (path.startsWith("/")) return path;
  throw new ArtifactError(
    `${address} is no place in app storage; expected a path from / or a ${ADDRESS} address, copy or download it there`,
  );
}

function isAddress(path: string): boolean {
  return path.startsWith(ADDRESS);
}
