/**
 * For those who bring the runtime to another place: what opens an artifact there, and the types of what it asks for.
 *
 * Imports no onnxruntime. Apps use the entry of their place.
 */

export { inPlaceCache, returnedCache } from "./core/cache.js";
export type { FoundFile } from "./core/files.js";
export { checkFiles, damaged, findDifference, readText, within } from "./core/files.js";
export * from "./core/index.js";
export { loadModel } from "./core/model.js";
export type {
  ArtifactSource,
  Backend,
  Capabilities,
  ExternalData,
  Feeds,
  Fetches,
  GraphSource,
  InferenceSession,
  Location,
  MakeCache,
  Ort,
  SessionOptions,
  Tensor,
  ValueMetadata,
} from "./core/ports.js";
