/**
 * expo-file-system and expo-crypto, as the runtime reads, writes and hashes files.
 *
 * Imports neither: an app gives the packages, `expoFiles(fileSystem, crypto)` after `import * as`. Written against
 * version 56.
 */

import { bytesToHex } from "@noble/hashes/utils.js";
import type { Bytes } from "../core/bytes.js";
import type { WritableFileSystem } from "./files.js";

/** What is used of the package. */
export interface ExpoFileSystem<Mode> {
  readonly File: new (address: string) => ExpoFile<Mode>;
  readonly Directory: new (
    address: string,
  ) => {
    create(options: { intermediates: boolean; idempotent: boolean }): void;
  };
  readonly FileMode: { readonly ReadOnly: Mode; readonly Append: Mode };
}

interface ExpoFile<Mode> {
  readonly exists: boolean;
  readonly size: number;
  bytes(): Promise<Bytes>;
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

/** What is used of expo-crypto. It takes a file as a whole, which an app has memory for while no model is open. */
export interface ExpoCrypto<Algorithm> {
  readonly CryptoDigestAlgorithm: { readonly SHA256: Algorithm };
  digest(algorithm: Algorithm, data: Bytes): Promise<ArrayBuffer>;
}

/** Files of an app made with Expo; their addresses begin with `file://`, as those of `Paths.document` do. */
export function expoFiles<Mode, Algorithm>(
  { File, Directory, FileMode }: ExpoFileSystem<Mode>,
  crypto: ExpoCrypto<Algorithm>,
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
  return {
    exists: async (address) => new File(address).exists,
    size: async (address) => new File(address).size,
    readBytes: (address, offset, length) =>
      open(address, FileMode.ReadOnly, (handle) => {
        handle.offset = offset;
        return handle.readBytes(length);
      }),
    sha256: async (address) => {
      const bytes = await new File(address).bytes();
      return bytesToHex(new Uint8Array(await crypto.digest(crypto.CryptoDigestAlgorithm.SHA256, bytes)));
    },
    makeFolder: async (address) => new Directory(address).create({ intermediates: true, idempotent: true }),
    append: async (address, bytes) => {
      const file = new File(address);
      if (!file.exists) file.create();
      await open(address, FileMode.Append, (handle) => handle.writeBytes(bytes));
    },
    remove: async (address) => {
      const file = new File(address);
      if (file.exists) file.delete();
    },
    rename: async (from, to) => new File(from).moveSync(new File(to) as never, { overwrite: true }),
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
