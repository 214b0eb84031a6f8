/**
 * What every entry file re-exports: the model, its options, and the types that a new place to run in is built from.
 *
 * Imports no onnxruntime.
 */

export { Answer, type Answers } from "./answer.js";
export { inPlaceCache, returnedCache } from "./cache.js";
export type { Embedding, EncoderModel, Pixels } from "./encoder-model.js";
export type { EncoderInput, EncoderOutput } from "./encoder-session.js";
export { AdapterError, ArtifactError, BackendError, ConnectionError, EdgeLoraError, InputError } from "./errors.js";
export type { FolderSource, FoundFile } from "./files.js";
export { damaged, findDifference, readText, within } from "./files.js";
export type { EncoderInfo, FileInfo, HeadInfo, Manifest, Pieces, Task } from "./format.js";
export type { FinishReason } from "./generate.js";
export type { Generation, RowPiece, Timings, Usage } from "./generation.js";
export type { Message, Tools } from "./messages.js";
export type {
  ChatOptions,
  ForTask,
  GenerateOptions,
  LoadOptions,
  Model,
  ModelOf,
  Wanted,
} from "./model.js";
export { loadModel } from "./model.js";
export type {
  ArtifactSource,
  Backend,
  Capabilities,
  GraphSource,
  Location,
  MakeCache,
  Ort,
  SessionOptions,
  Tensor,
} from "./ports.js";
export type { ProbeResult } from "./probe.js";
export type { Variables } from "./rendering.js";
export type { AnswerResult } from "./replay-answers.js";
export type { IdOptions, TextOptions, WithAdapter, WithAdapters } from "./request.js";
export type { SamplingOptions } from "./sampling.js";
export type { Classification } from "./scores.js";
export type { Span, Tagging } from "./spans.js";
export type { Tokenizer } from "./text.js";
