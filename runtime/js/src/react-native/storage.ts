/**
 * Artifacts and adapter folders in app storage.
 *
 * Knows nothing about sessions: it makes sure that files are there, reads them, and says where the graph lies.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { ArtifactError } from "../core/errors.js";
import { damaged, type FolderSource, findDifference } from "../core/files.js";
import type { FileInfo } from "../core/format.js";
import type { ArtifactSource } from "../core/ports.js";
import { type FileSystem, inFolder, nativePath } from "./files.js";

const PIECE_BYTES = 1 << 20; // read at once, so that a file never lies in JavaScript's memory as a whole

/** A folder of app storage, for `model.loadAdapter`. */
export function storedFolder(files: FileSystem, folder: string): FolderSource {
  const read = async <Result>(name: string, use: (path: string) => Promise<Result>): Promise<Result> => {
    try {
      return await use(inFolder(folder, name));
    } catch (error) {
      throw new ArtifactError(
        `${folder}/${name} cannot be read (${(error as Error).message}); copy or download it again`,
      );
    }
  };
  return {
    where: folder,
    has: (name) => files.exists(inFolder(folder, name)),
    bytes: (name) => read(name, async (path) => files.readBytes(path, 0, await files.size(path))),
    sha256: (name) => read(name, (path) => hashFile(files, path)),
  };
}

/** An artifact in app storage. `prepare` compares sizes, and hashes when asked. */
export function storedArtifact(files: FileSystem, folder: string): ArtifactSource {
  const source = storedFolder(files, folder);
  nativePath(folder); // refuses other kinds of addresses before anything is read
  const difference = async (name: string, expected: FileInfo, hashes: boolean): Promise<string | null> => {
    const path = inFolder(folder, name);
    if (!(await files.exists(path))) return findDifference(name, null, expected);
    const bytes = await files.size(path);
    const isHashed = hashes && bytes === expected.bytes;
    return findDifference(name, { bytes, sha256: isHashed ? await source.sha256(name) : null }, expected);
  };
  return {
    ...source,
    prepare: async (expected, hashes) => {
      const differences: string[] = [];
      for (const [name, info] of expected) {
        const found = await difference(name, info, hashes);
        if (found !== null) differences.push(found);
      }
      if (differences.length > 0) throw damaged(folder, differences);
    },
    // onnxruntime finds the weights beside the graph.
    graph: async (graph) => ({ model: nativePath(inFolder(folder, graph)) }),
    folder: (location) => storedFolder(files, location),
  };
}

/** SHA-256 of a file, hex. */
export async function hashFile(files: FileSystem, path: string): Promise<string> {
  if (files.sha256 !== undefined) return files.sha256(path);
  const hash = sha256.create();
  const size = await files.size(path);
  for (let offset = 0; offset < size; offset += PIECE_BYTES) {
    hash.update(await files.readBytes(path, offset, Math.min(PIECE_BYTES, size - offset)));
  }
  return bytesToHex(hash.digest());
}
