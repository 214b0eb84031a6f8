/**
 * expo-file-system and expo-crypto, as the runtime reads, writes and hashes files.
 *
 * Imports neither: an app gives the packages, `expoFiles(fileSystem, crypto)` after `import * as`. Written against
 * version 56.
 */

import { type Bytes, toHex } from "../core/bytes.js";
import type { WritableFileSystem } from "../core/file-system.js";

const COPIED_BYTES = 1 << 20; // at once, where a file must be copied

/** What is used of the package. */
export interface ExpoFileSystem<Mode> {
  readonly File: (new (
    address: string,
  ) => ExpoFile<Mode>) & {
    createDownloadTask?(
      address: string,
      destination: never,
      options: ExpoDownload,
    ): { downloadAsync(): Promise<unknown> };
  };
  readonly Directory: new (address: string) => ExpoDirectory;
  readonly FileMode: { readonly ReadOnly: Mode; readonly Append: Mode };
  readonly Paths: { readonly availableDiskSpace: number; readonly cache: { readonly uri: string } };
}

interface ExpoDownload {
  readonly headers: Record<string, string>;
  readonly sessionType: "background";
  readonly signal?: AbortSignal;
  readonly onProgress: (progress: { readonly bytesWritten: number }) => void;
}

interface ExpoDirectory {
  readonly exists: boolean;
  create(options: { intermediates: boolean; idempotent: boolean }): void;
  delete(): void;
  list(): readonly { readonly name: string }[];
}

interface ExpoFile<Mode> {
  readonly exists: boolean;
  readonly size: number;
  create(): void;
  delete(): void;
  moveSync(destination: never, options: { overwrite: boolean }): void;
  open(mode: Mode): ExpoHandle;
}

interface ExpoHandle {
  offset: number | null;
  readBytes(length: number): Uint8Array;
  writeBytes(bytes: Uint8Array): void;
  close(): void;
}

/** What is used of expo-crypto; it is given a piece of a file at a time. */
export interface ExpoCrypto<Algorithm> {
  readonly CryptoDigestAlgorithm: { readonly SHA256: Algorithm };
  digest(algorithm: Algorithm, data: Bytes): Promise<ArrayBuffer>;
}

/** Options of `expoFiles`. */
export interface ExpoOptions {
  /**
   * Let the system bring large files (a background session on iOS), so that a locked screen does not end a download. A
   * file that it could not bring is streamed.
   */
  readonly background?: boolean | undefined;
}

/** Files of an app made with Expo; their addresses begin with `file://`, as those of `Paths.cache` do. */
export function expoFiles<Mode, Algorithm>(
  { File, Directory, FileMode, Paths }: ExpoFileSystem<Mode>,
  crypto: ExpoCrypto<Algorithm>,
  { background = false }: ExpoOptions = {},
): WritableFileSystem {
  const open = async <Result>(address: string, mode: Mode, use: (handle: ExpoHandle) => Result): Promise<Result> => {
    await nextTurn(); // handles work while the app waits: let it draw and answer touches between two pieces
    const handle = new File(address).open(mode);
    try {
      return use(handle);
    } finally {
      handle.close();
    }
  };
  const readBytes = (address: string, offset: number, length: number) =>
    open(address, FileMode.ReadOnly, (handle) => {
      handle.offset = offset;
      return handle.readBytes(length);
    });
  const append = async (address: string, bytes: Uint8Array) => {
    const file = new File(address);
    if (!file.exists) file.create();
    await open(address, FileMode.Append, (handle) => handle.writeBytes(bytes));
  };
  const remove = async (address: string) => {
    const file = new File(address);
    if (file.exists) file.delete();
  };
  const rename = async (from: string, to: string) =>
    new File(from).moveSync(new File(to) as never, { overwrite: true });
  const startDownload = File.createDownloadTask?.bind(File);
  return {
    exists: async (address) => new File(address).exists,
    size: async (address) => new File(address).size,
    readBytes,
    digest: async (bytes) => toHex(await crypto.digest(crypto.CryptoDigestAlgorithm.SHA256, new Uint8Array(bytes))),
    makeFolder: async (address) => new Directory(address).create({ intermediates: true, idempotent: true }),
    append,
    truncate: async (address, length) => {
      // Handles cannot shorten a file: what stays of it is copied.
      const copy = `${address}.copy`;
      await remove(copy);
      for (let offset = 0; offset < length; offset += COPIED_BYTES) {
        await append(copy, await readBytes(address, offset, Math.min(COPIED_BYTES, length - offset)));
      }
      await rename(copy, address);
    },
    remove,
    rename,
    list: async (address) => {
      const folder = new Directory(address);
      return folder.exists ? folder.list().map(({ name }) => name) : [];
    },
    removeFolder: async (address) => {
      const folder = new Directory(address);
      if (folder.exists) folder.delete();
    },
    cacheFolder: `${Paths.cache.uri.replace(/\/+$/, "")}/edgelora`,
    freeBytes: async () => Paths.availableDiskSpace,
    ...(background &&
      startDownload !== undefined && {
        download: async (address, path, { headers, signal, onBytes }) => {
          const task = startDownload(address, new File(path) as never, {
            headers: { ...headers },
            sessionType: "background",
            ...(signal !== undefined && { signal }),
            onProgress: ({ bytesWritten }) => onBytes(bytesWritten),
          });
          await task.downloadAsync();
        },
      }),
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
