/**
 * The runtime in React Native: artifacts in app storage, on onnxruntime-react-native.
 *
 * Knows nothing about tokens; the core does the work. Hermes needs a `TextDecoder`: Expo brings one, other apps import
 * a polyfill first.
 */

import * as ort from "onnxruntime-react-native";
import { InputError } from "./core/errors.js";
import type { FileSystem } from "./core/file-system.js";
import { type ForTask, type LoadOptions, loadModel, type ModelOf, type Wanted } from "./core/model.js";
import { reactNativeBackend } from "./react-native/onnxruntime.js";
import { storedArtifact } from "./react-native/storage.js";

export type { DownloadOptions, DownloadProgress } from "./core/download-folder.js";
export type { FileSystem, NativeDownload, WritableFileSystem } from "./core/file-system.js";
export * from "./core/index.js";
export { downloadArtifact } from "./react-native/download.js";
export { type ExpoCrypto, type ExpoFileSystem, expoFiles } from "./react-native/expo.js";
export { storedFolder } from "./react-native/storage.js";

const DEFAULT_THREADS = 4; // phones have two to four fast cores; a run waits for its slowest thread

/** Options of `load`. */
export interface ReactNativeLoadOptions extends LoadOptions {
  /** The app's files: `expoFiles(fileSystem, crypto)`, or an object over another package. */
  readonly files: FileSystem;
  /** Threads of a run, 4 by default. */
  readonly threads?: number | undefined;
}

/**
 * Open an artifact in app storage, a path or a `file://` address. Sizes are always checked; `hashes` reads every byte.
 * Throws ArtifactError for a damaged artifact, AdapterError naming the adapter that is not what its receipt says. `task`
 * is what the artifact must be for.
 */
export async function load<Want extends Wanted = "text-generation">(
  folder: string,
  options: ReactNativeLoadOptions & ForTask<Want>,
): Promise<ModelOf<Want>> {
  const { files, threads = DEFAULT_THREADS } = options;
  if (!Number.isInteger(threads) || threads < 1) {
    throw new InputError(`threads is ${threads}, expected a whole number from 1`);
  }
  return loadModel(storedArtifact(files, folder), reactNativeBackend(ort, threads), options);
}
