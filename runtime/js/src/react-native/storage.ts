/**
 * Artifacts and adapter folders in app storage.
 *
 * Knows nothing about sessions: it makes sure that files are there, reads them, and says where the graph lies.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { ArtifactError } from "../core/errors.js";
import { checkFiles, type FolderSource } from "../core/files.js";
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
  return {
    ...source,
    prepare: (expected, hashes) =>
      checkFiles(folder, expected, async (name, info) => {
        const path = inFolder(folder, name);
        if (!(await files.exists(path))) return null;
        const bytes = await files.size(path);
        return { bytes, sha256: hashes && bytes === info.bytes ? await source.sha256(name) : null };
      }),
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
