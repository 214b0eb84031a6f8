/**
 * The runtime in React Native: artifacts in app storage, on onnxruntime-react-native.
 *
 * Knows nothing about tokens; the core does the work. Hermes needs a `TextDecoder`: Expo brings one, other apps import
 * a polyfill first.
 */

import * as ort from "onnxruntime-react-native";
import { isRemote } from "./core/address.js";
import { InputError } from "./core/errors.js";
import type { FileSystem, WritableFileSystem } from "./core/file-system.js";
import { lazyModels } from "./core/lazy-models.js";
import { type ForTask, type LoadOptions, loadModel, type ModelOf, type Wanted } from "./core/model.js";
import type { Models } from "./core/models.js";
import type { ArtifactSource } from "./core/ports.js";
import type { BringOptions } from "./core/stored-models.js";
import { reactNativeBackend } from "./react-native/onnxruntime.js";
import { storedArtifact } from "./react-native/storage.js";

export type { DownloadProgress } from "./core/bring-each.js";
export type { DownloadOptions } from "./core/download-folder.js";
export type { FileSystem, NativeDownload, WritableFileSystem } from "./core/file-system.js";
export * from "./core/index.js";
export { downloadArtifact } from "./react-native/download.js";
export { type ExpoCrypto, type ExpoFileSystem, expoFiles } from "./react-native/expo.js";
export { storedFolder } from "./react-native/storage.js";

const DEFAULT_THREADS = 4; // phones have two to four fast cores; a run waits for its slowest thread

/** Options of `load`. */
export interface ReactNativeLoadOptions extends LoadOptions, Omit<BringOptions, "checkRoom"> {
  /** The app's files: `expoFiles(fileSystem, crypto)`, or an object over another package. */
  readonly files: FileSystem;
  /** Where artifacts of servers are kept; the folder of `files` for what can be had again. */
  readonly cache?: string | undefined;
  /** Threads of a run, 4 by default. */
  readonly threads?: number | undefined;
}

/**
 * Open an artifact: in app storage, a path or a `file://` address, or of a server, `https://...` or
 * `hf:owner/name@revision`, of which what is missing is downloaded first and kept. Sizes are always checked; `hashes` reads every byte.
 * Throws ArtifactError for a damaged artifact, AdapterError naming the adapter that is not what its receipt says. `task`
 * is what the artifact must be for.
 */
export async function load<Want extends Wanted = "text-generation">(
  location: string,
  options: ReactNativeLoadOptions & ForTask<Want>,
): Promise<ModelOf<Want>> {
  const { threads = DEFAULT_THREADS } = options;
  if (!Number.isInteger(threads) || threads < 1) {
    throw new InputError(`threads is ${threads}, expected a whole number from 1`);
  }
  const source = await open(location, options);
  try {
    return await loadModel(source, reactNativeBackend(ort, threads), options);
  } catch (error) {
    source.close?.();
    throw error;
  }
}

async function open(location: string, options: ReactNativeLoadOptions): Promise<ArtifactSource> {
  const { files, cache } = options;
  if (!isRemote(location)) return storedArtifact(files, location);
  const { modelsIn, writable } = await import("./react-native/kept.js"); // a folder needs none of it
  const { folder, close } = await modelsIn(writable(files), cache).open(location, options);
  return { ...storedArtifact(files, folder, options, location), close };
}

/** Artifacts of servers that `load` keeps in `cache`, the folder of `files` for what can be had again by default. */
export function modelsIn(files: WritableFileSystem, cache?: string): Models {
  return lazyModels(async () => (await import("./react-native/kept.js")).modelsIn(files, cache));
}
