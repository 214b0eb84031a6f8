/**
 * Artifacts and adapter folders in app storage.
 *
 * Knows nothing about sessions: it makes sure that files are there, reads them, and says where the graph lies.
 */

import { type AddressOptions, askingFor, isRemote } from "../core/address.js";
import { ArtifactError } from "../core/errors.js";
import { fetchedFolder } from "../core/fetched-folder.js";
import { hashFile, hashingOf, isFileRight } from "../core/file-place.js";
import { type FileSystem, inFolder } from "../core/file-system.js";
import { checkFiles, type FolderSource } from "../core/files.js";
import type { FileInfo } from "../core/format.js";
import { baseFiles, neededFiles } from "../core/needed-files.js";
import type { ArtifactSource } from "../core/ports.js";
import { nativePath } from "./files.js";

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

/**
 * An artifact in app storage, which came from the address `artifact`, asked for with `asking`. `prepare` compares sizes of
 * what is needed here, those of an adapter before it is first read, and hashes of all when asked, piece by piece.
 */
export function storedArtifact(
  files: FileSystem,
  folder: string,
  asking: AddressOptions = {},
  artifact: string = folder,
): ArtifactSource {
  const source = storedFolder(files, folder);
  nativePath(folder); // refuses other kinds of addresses before anything is read
  const check = (needed: ReadonlyMap<string, FileInfo>, hashes = false) =>
    checkFiles(folder, needed, async (name, info) => {
      const path = inFolder(folder, name);
      if (!(await files.exists(path))) return null;
      const bytes = await files.size(path);
      const isHashed = hashes && bytes === info.bytes;
      return { bytes, sha256: null, isOther: isHashed && !(await isFileRight(files, path, info)) };
    });
  return {
    ...source,
    prepare: (manifest, hashes) => check(hashes ? neededFiles(manifest) : baseFiles(manifest), hashes),
    prepareAdapter: (needed) => check(needed),
    // onnxruntime finds the weights beside the graph.
    graph: async (graph) => ({ model: nativePath(inFolder(folder, graph)) }),
    folder: (location) =>
      isRemote(location)
        ? fetchedFolder(location, hashingOf(files).digest, askingFor(location, artifact, asking))
        : storedFolder(files, location),
  };
}
