/**
 * What is used of expo-file-system and expo-crypto, over the disk: a stand-in, since both run on phones alone.
 *
 * Knows nothing about downloads.
 */

import { webcrypto } from "node:crypto";
import * as fs from "node:fs";
import { fileURLToPath } from "node:url";
import { expoFiles } from "../src/react-native/expo.js";

class DiskHandle {
  offset: number | null = 0;
  readonly #descriptor: number;

  constructor(path: string, mode: string) {
    this.#descriptor = fs.openSync(path, mode);
  }

  readBytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, fs.readSync(this.#descriptor, bytes, 0, length, this.offset));
  }

  writeBytes(bytes: Uint8Array): void {
    fs.writeSync(this.#descriptor, bytes);
  }

  close(): void {
    fs.closeSync(this.#descriptor);
  }
}

export class DiskFile {
  readonly path: string;

  constructor(address: string) {
    this.path = fileURLToPath(address);
  }

  get exists(): boolean {
    return fs.statSync(this.path, { throwIfNoEntry: false })?.isFile() ?? false;
  }

  get size(): number {
    return fs.statSync(this.path).size;
  }

  create(): void {
    fs.writeFileSync(this.path, "", { flag: "wx" });
  }

  delete(): void {
    fs.rmSync(this.path);
  }

  moveSync(destination: DiskFile, { overwrite }: { overwrite: boolean }): void {
    if (destination.exists && !overwrite) throw new Error(`${destination.path} exists`);
    fs.renameSync(this.path, destination.path);
  }

  open(mode: string): DiskHandle {
    return new DiskHandle(this.path, mode);
  }
}

export class DiskDirectory {
  readonly #path: string;

  constructor(address: string) {
    this.#path = fileURLToPath(address);
  }

  get exists(): boolean {
    return fs.existsSync(this.#path);
  }

  create({ intermediates }: { intermediates: boolean; idempotent: boolean }): void {
    fs.mkdirSync(this.#path, { recursive: intermediates });
  }

  delete(): void {
    fs.rmSync(this.#path, { recursive: true });
  }

  list(): { name: string }[] {
    return fs.readdirSync(this.#path).map((name) => ({ name }));
  }
}

export const Paths = { availableDiskSpace: 2 ** 40, cache: { uri: "file:///nowhere" } };
export const files = expoFiles(
  { File: DiskFile, Directory: DiskDirectory, FileMode: { ReadOnly: "r", Append: "a" }, Paths },
  {
    CryptoDigestAlgorithm: { SHA256: "SHA-256" },
    digest: (name: string, bytes: Uint8Array<ArrayBuffer>) => webcrypto.subtle.digest(name, bytes),
  },
);
