/**
 * expo-file-system, as the runtime reads and writes files.
 *
 * Imports nothing: an app gives the package, `expoFiles(await import("expo-file-system"))`, version 55 or newer.
 */

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

/** Files of an app made with Expo; their addresses begin with `file://`, as those of `Paths.document` do. */
export function expoFiles<Mode>({ File, Directory, FileMode }: ExpoFileSystem<Mode>): WritableFileSystem {
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
