/**
 * Artifacts that a visitor has: a folder given to the page, or the files of one.
 *
 * Knows nothing about servers; files stay where the browser has them until they are read.
 */

import { throwIfAborted } from "../core/abort.js";
import { atServer } from "../core/address.js";
import { ArtifactError } from "../core/errors.js";
import { fetchedFolder } from "../core/fetched-folder.js";
import { checkFiles, type FolderSource } from "../core/files.js";
import { type FileInfo, MANIFEST_FILE, type Manifest } from "../core/format.js";
import { isRight } from "../core/is-right.js";
import { parseManifest } from "../core/manifest.js";
import { baseFiles, neededFiles } from "../core/needed-files.js";
import type { GraphSource } from "../core/ports.js";
import type { DirectoryHandle, LoadWatcher, WebArtifact } from "./artifact.js";
import { CopiedFolder, type FolderCopy } from "./folders.js";
import { browserHashing, digest } from "./hash.js";
import { baseAddress } from "./place.js";

/** What a runtime reads of a folder; throws ArtifactError where there is no manifest in it. */
export async function copyArtifact(given: DirectoryHandle | Iterable<File>): Promise<FolderCopy> {
  return "kind" in given ? copyHandle(given) : copyFiles([...given]);
}

async function copyHandle(folder: DirectoryHandle): Promise<FolderCopy> {
  const manifest = await fileAt(folder, MANIFEST_FILE);
  if (manifest === null) throw noManifest(folder.name);
  const files = new Map<string, Blob>([[MANIFEST_FILE, manifest]]);
  const content = new Uint8Array(await manifest.arrayBuffer());
  for (const name of neededFiles(parseManifest(content, `${folder.name}/${MANIFEST_FILE}`)).keys()) {
    const file = await fileAt(folder, name);
    if (file !== null) files.set(name, file);
  }
  return { where: folder.name, files };
}

async function fileAt(folder: DirectoryHandle, name: string): Promise<File | null> {
  const parts = name.split("/");
  const last = parts.pop() as string;
  try {
    let inside = folder;
    for (const part of parts) inside = await inside.getDirectoryHandle(part);
    return await (await inside.getFileHandle(last)).getFile();
  } catch (error) {
    if (["NotFoundError", "TypeMismatchError"].includes((error as Error).name)) return null;
    throw new ArtifactError(
      `${folder.name}/${name} cannot be read (${(error as Error).message}); give the folder again`,
    );
  }
}

/** Files with the paths that the browser knows; the artifact is where the manifest nearest to the top is. */
function copyFiles(given: readonly File[]): FolderCopy {
  const byPath = new Map(given.map((file) => [file.webkitRelativePath || file.name, file]));
  const tops = [...byPath.keys()].filter((path) => path === MANIFEST_FILE || path.endsWith(`/${MANIFEST_FILE}`));
  const [top] = tops.sort((one, other) => one.split("/").length - other.split("/").length);
  if (top === undefined) throw noManifest("the files that were given");
  const folder = top.slice(0, -MANIFEST_FILE.length);
  const files = new Map<string, Blob>();
  for (const [path, file] of byPath) if (path.startsWith(folder)) files.set(path.slice(folder.length), file);
  return { where: folder.replace(/\/$/, "") || "the files that were given", files };
}

function noManifest(where: string): ArtifactError {
  return new ArtifactError(
    `${where}: there is no ${MANIFEST_FILE}; expected the folder of an artifact as \`edgelora export\` writes it`,
  );
}

/** Such an artifact, read in place. */
export class LocalSource extends CopiedFolder implements WebArtifact {
  #watcher: LoadWatcher;

  constructor(copy: FolderCopy, watcher: LoadWatcher) {
    super(copy);
    this.#watcher = watcher;
  }

  async prepare(manifest: Manifest, hashes: boolean): Promise<void> {
    await this.fill(hashes ? neededFiles(manifest) : baseFiles(manifest), hashes);
  }

  async prepareAdapter(files: ReadonlyMap<string, FileInfo>): Promise<void> {
    await this.fill(files, false);
  }

  async fill(files: ReadonlyMap<string, FileInfo>, hashes: boolean): Promise<void> {
    await checkFiles(this.where, files, async (name, info) => {
      const blob = this.copy.files.get(name);
      if (blob === undefined) return null;
      const isHashed = hashes && blob.size === info.bytes;
      const read = async (offset: number, length: number) =>
        new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      return { bytes: blob.size, sha256: null, isOther: isHashed && !(await isRight(info, browserHashing, read)) };
    });
  }

  async graph(graph: string, weights: string): Promise<GraphSource> {
    const { signal, onProgress } = this.#watcher;
    throwIfAborted(signal);
    onProgress?.({ stage: "open", file: null, loadedBytes: 0, totalBytes: this.copy.files.get(weights)?.size ?? 0 });
    return {
      model: await this.bytes(graph),
      externalData: [{ path: weights, data: await this.bytes(weights) }],
    };
  }

  folder(location: string): FolderSource {
    const { where } = atServer(new URL(location, baseAddress()).href);
    return fetchedFolder(where, digest, {});
  }

  detach(): void {
    this.#watcher = {};
  }

  close(): void {}
}
