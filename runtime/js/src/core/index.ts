/**
 * What every entry file re-exports: the model, its options, and the types that a new place to run in is built from.
 *
 * Imports no onnxruntime.
 */

export type { Backend, Capabilities, Location, Ort, SessionOptions, Tensor } from "./backend.js";
export { inPlaceCache, type MakeCache, returnedCache } from "./cache.js";
export { AdapterError, ArtifactError, BackendError, EdgeLoraError, InputError } from "./errors.js";
export type { FinishReason } from "./generate.js";
export type { FileInfo, FoundFile, Manifest } from "./manifest.js";
export { damaged, findDifference } from "./manifest.js";
export type { Message, Tools } from "./messages.js";
export type { ChatOptions, GenerateOptions, Generation, LoadOptions, Model } from "./model.js";
export { loadModel } from "./model.js";
export type { ProbeResult } from "./probe.js";
export type { Variables } from "./rendering.js";
export type { IdOptions, TextOptions, WithAdapter, WithAdapters } from "./request.js";
export type { SamplingOptions } from "./sampling.js";
export type { ArtifactSource, FolderSource, GraphSource } from "./source.js";
export { readText, within } from "./source.js";
export type { Tokenizer } from "./text.js";
