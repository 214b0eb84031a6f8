/**
 * What every entry file re-exports: the types of models and their options, and the errors.
 *
 * Imports no onnxruntime.
 */

export type { AddressOptions } from "./address.js";
export { Answer, type Answers } from "./answer.js";
export type { Embedding, EncoderModel, Pixels } from "./encoder-model.js";
export type { EncoderInput, EncoderOutput } from "./encoder-session.js";
export type { BackendFault, ErrorCode } from "./errors.js";
export { AdapterError, ArtifactError, BackendError, ConnectionError, EdgeLoraError, InputError } from "./errors.js";
export type { FileProgress, FolderSource, Watch } from "./files.js";
export type { EncoderInfo, FileInfo, HeadInfo, Manifest, Pieces, Task } from "./format.js";
export type { FinishReason } from "./generate.js";
export type { Generation, RowPiece, Timings, Usage } from "./generation.js";
export type { LoadAdapterOptions } from "./loaded-model.js";
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
export type { Estimate, EstimateOptions, MakeRoom, Models, Room, StoredModel } from "./models.js";
export type { ProbeResult } from "./probe.js";
export type { Variables } from "./rendering.js";
export type { AnswerResult } from "./replay-answers.js";
export type { IdOptions, ProcessLogits, Schema, TextOptions, WithAdapter, WithAdapters } from "./request.js";
export type { SamplingOptions } from "./sampling.js";
export type { Classification } from "./scores.js";
export type { Span, Tagging } from "./spans.js";
export type { Tokenizer } from "./text.js";
export type { ToolCall } from "./tool-calls.js";
