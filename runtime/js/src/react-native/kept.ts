/**
 * Artifacts of servers that an app keeps.
 *
 * Knows nothing about sessions.
 */

import { InputError } from "../core/errors.js";
import type { FileSystem, WritableFileSystem } from "../core/file-system.js";
import { StoredModels } from "../core/stored-models.js";
import { nativePath } from "./files.js";

const known = new WeakMap<WritableFileSystem, Map<string, StoredModels>>();

/**
 * Those in `folder`, that of `files` for what can be had again where it is left out; the same object for the same folder,
 * so that it knows which are open.
 */
export function modelsIn(files: WritableFileSystem, folder: string | undefined = files.cacheFolder): StoredModels {
  if (folder === undefined) throw new InputError("these files name no folder for artifacts; give one: cache");
  nativePath(folder); // refuses other kinds of addresses
  const folders = known.get(files) ?? new Map<string, StoredModels>();
  known.set(files, folders);
  const found = folders.get(folder) ?? new StoredModels(files, folder);
  folders.set(folder, found);
  return found;
}

/** `files` as what can be written to; throws InputError where they can only be read. */
export function writable(files: FileSystem): WritableFileSystem {
  if ("append" in files) return files as WritableFileSystem;
  throw new InputError("these files can only be read; downloads need a WritableFileSystem, such as expoFiles gives");
}
