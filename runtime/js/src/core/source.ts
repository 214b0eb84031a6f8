/**
 * How the files of an artifact or of an adapter folder are read: from a disk, an address and its cache, app storage.
 *
 * Knows nothing about what is in the files. Paths are those of the manifest, with "/" and relative to the folder.
 */

import type { ExternalData } from "./backend.js";
import type { FileInfo } from "./manifest.js";

/** A folder to read from: an artifact, or a PEFT folder that a user brings. */
export interface FolderSource {
  /** What messages call it: the path, the address, "dropped files". */
  readonly where: string;
  has(path: string): Promise<boolean>;
  /** The whole file, in memory of its own or as a view. Throws ArtifactError when it is missing or cannot be read. */
  bytes(path: string): Promise<Uint8Array>;
  /** SHA-256 of the file, hex. */
  sha256(path: string): Promise<string>;
}

/** How graph and weights reach `InferenceSession.create`. */
export interface GraphSource {
  readonly model: string | Uint8Array;
  /** Left out where `model` is a path beside which onnxruntime finds the weights itself. */
  readonly externalData?: readonly ExternalData[];
}

/** An artifact. */
export interface ArtifactSource extends FolderSource {
  /**
   * Called once, after the manifest was read and before anything else is: makes sure that `files` are there and are
   * those of the manifest (downloads them first where they are far away), comparing sizes, and hashes where `hashes`.
   * Throws one ArtifactError that lists every difference; `checkFiles` of manifest.ts does it for sources that can look.
   */
  prepare(files: ReadonlyMap<string, FileInfo>, hashes: boolean): Promise<void>;
  /** `graph` and `weights` are file names of the manifest. Asked for when a session is made, and not kept. */
  graph(graph: string, weights: string): Promise<GraphSource>;
  /** Another folder, as one writes it in this place: a path, an address. */
  folder(location: string): FolderSource;
}

/** A folder inside another one. */
export function within(source: FolderSource, path: string): FolderSource {
  const inside = (name: string) => `${path}/${name}`;
  return {
    where: `${source.where}/${path}`,
    has: (name) => source.has(inside(name)),
    bytes: (name) => source.bytes(inside(name)),
    sha256: (name) => source.sha256(inside(name)),
  };
}

/** A file as UTF-8 text. */
export async function readText(source: FolderSource, path: string): Promise<string> {
  return new TextDecoder("utf-8", { fatal: true }).decode(await source.bytes(path));
}
