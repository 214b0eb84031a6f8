/**
 * Folders to read from, on a disk, at an address, in app storage, and how their files differ from those of a manifest.
 *
 * Knows nothing about what is in the files. Paths are those of the manifest, with "/" and relative to the folder.
 */

import { ArtifactError, InputError } from "./errors.js";
import type { FileInfo } from "./format.js";
import { joinSome, show } from "./parse-json.js";

/** A folder to read from: an artifact, or a PEFT folder that a user brings. */
export interface FolderSource {
  /** What messages call it: the path, the address, "dropped files". */
  readonly where: string;
  has(path: string): Promise<boolean>;
  /** The whole file, in memory of its own or as a view. Throws ArtifactError when it is missing or cannot be read. */
  bytes(path: string): Promise<Uint8Array>;
  /** SHA-256 of the file, hex. */
  sha256(path: string): Promise<string>;
  /**
   * The folder for one reading, where that takes time or the network: each file comes once, and is kept no longer than
   * what this gives. Without it the folder itself is read.
   */
  reading?(watch: Watch): FolderSource;
}

/** How much of a file has come; `totalBytes` is null where nobody says how much there is. */
export interface FileProgress {
  readonly file: string;
  readonly loadedBytes: number;
  readonly totalBytes: number | null;
}

/** Who follows the reading of a folder, and may end it. */
export interface Watch {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: FileProgress) => void) | undefined;
}

/** A folder inside another one; what lies beside it there is its `../NAME`. */
export function within(source: FolderSource, path: string): FolderSource {
  const inside = (name: string) => `${path}/${name}`.replace(/[^/]+\/\.\.\//, "");
  return {
    where: `${source.where}/${path}`,
    has: (name) => source.has(inside(name)),
    bytes: (name) => source.bytes(inside(name)),
    sha256: (name) => source.sha256(inside(name)),
    ...(source.reading && { reading: (watch) => within(source.reading?.(watch) ?? source, path) }),
  };
}

/** A folder whose code is loaded when it is first read; `open` gives the folder as it is read under a watch. */
export function lazyFolder(where: string, open: (watch: Watch) => Promise<FolderSource>): FolderSource {
  const under = (watch: Watch): FolderSource => {
    let opened: Promise<FolderSource> | null = null;
    const folder = () => {
      opened ??= open(watch);
      return opened;
    };
    return {
      where,
      has: async (path) => (await folder()).has(path),
      bytes: async (path) => (await folder()).bytes(path),
      sha256: async (path) => (await folder()).sha256(path),
      reading: under,
    };
  };
  return under({});
}

/** A file as UTF-8 text. */
export async function readText(source: FolderSource, path: string): Promise<string> {
  return new TextDecoder("utf-8", { fatal: true }).decode(await source.bytes(path));
}

/** What a source found of a file; `sha256` is null where it was not computed, and then not compared. */
export interface FoundFile {
  readonly bytes: number;
  readonly sha256: string | null;
  /** Its bytes were compared piece by piece, and are others. */
  readonly isOther?: boolean;
}

/** How a file differs from the manifest, null where it does not; `found` is null where there is no file. */
export function findDifference(name: string, found: FoundFile | null, expected: FileInfo): string | null {
  if (found === null) return `${name}: missing`;
  if (found.bytes !== expected.bytes) return `${name}: ${found.bytes} bytes, expected ${expected.bytes}`;
  if (found.isOther) return `${name}: other bytes than the manifest says`;
  if (found.sha256 !== null && found.sha256 !== expected.sha256) {
    return `${name}: sha256 ${found.sha256.slice(0, 12)}…, expected ${expected.sha256.slice(0, 12)}…`;
  }
  return null;
}

/** The error for an artifact whose files are not those of its manifest. */
export function damaged(where: string, differences: readonly string[]): ArtifactError {
  return new ArtifactError(`${where} is damaged: ${joinSome(differences)}; copy or export it again`);
}

/**
 * Throws one ArtifactError that lists every file that is not as `files` say. `find` gives what there is, null where
 * there is nothing.
 */
export async function checkFiles(
  where: string,
  files: ReadonlyMap<string, FileInfo>,
  find: (name: string, expected: FileInfo) => Promise<FoundFile | null>,
): Promise<void> {
  const differences: string[] = [];
  for (const [name, expected] of files) {
    const difference = findDifference(name, await find(name, expected), expected);
    if (difference !== null) differences.push(difference);
  }
  if (differences.length > 0) throw damaged(where, differences);
}

/** What an adapter is loaded from: an address as text, or a source. Throws InputError for anything else. */
export function asAddress(name: string, folder: string | URL | FolderSource): string | FolderSource {
  if (typeof folder === "string") return folder;
  if (typeof URL !== "undefined" && folder instanceof URL) return folder.href;
  if (typeof folder === "object" && folder !== null && "has" in folder) return folder;
  throw new InputError(
    `the folder of adapter ${show(name)} is ${show(folder)}, expected an address or a source of files`,
  );
}
