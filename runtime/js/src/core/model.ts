/**
 * The public model: opens an artifact, takes text or token ids and gives text or token ids.
 *
 * Knows nothing about buffers, kernels or where files come from.
 */

import type { Backend } from "./backend.js";
import type { FinishReason } from "./generate.js";
import type { Manifest } from "./manifest.js";
import type { ProbeResult } from "./probe.js";
import type { IdOptions, TextOptions } from "./request.js";
import type { ArtifactSource, FolderSource } from "./source.js";
import type { Message, Tokenizer } from "./text.js";

/** One answer. `tokenIds` leaves out the end token; `choiceScores` are in the order of the choices given. */
export interface Generation {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly promptTokens: number;
  readonly choiceScores: readonly number[] | null;
}

/** Options of `loadModel`; entry files add those of their place. */
export interface LoadOptions {
  /** Compare the hash of every file with the manifest, not the sizes alone. */
  readonly hashes?: boolean | undefined;
  /** Hold every adapter to its receipt: factors, base, and one replayed probe. */
  readonly probe?: boolean | undefined;
  /** Keep the graph without slots in memory beside the one with slots, for calls without an adapter. */
  readonly twin?: boolean | undefined;
}

/** One SPEC: `none`, `NAME`, `NAME:WEIGHT`, or several joined by `+`. Without one a call uses `model.adapter`. */
export interface WithAdapter {
  readonly adapter?: string | undefined;
}

/** One SPEC for all rows, or one for each. */
export interface WithAdapters {
  readonly adapter?: string | readonly string[] | undefined;
}

/** Options of `generate`. */
export interface GenerateOptions extends TextOptions {
  /** Leave out the chat template. */
  readonly raw?: boolean | undefined;
}

/**
 * What a loaded artifact does. It answers one call at a time, in the order of the calls; a call during an open stream
 * ends the stream with an InputError at its next piece. Every method that answers rejects with an EdgeLoraError for
 * what the user can put right, and with the signal's reason (an AbortError) when it was aborted.
 */
export interface ModelApi {
  readonly manifest: Manifest;
  /** Names that a SPEC can use. */
  readonly adapters: readonly string[];
  /** The SPEC used where a call gives none. */
  readonly adapter: string;
  /** Text in and out; null when the artifact has no tokenizer. Read when it is first needed. */
  readonly tokenizer: Promise<Tokenizer | null>;

  /** Use `spec` from now on where a call gives none; a change drops the KV cache. */
  setAdapter(spec: string): Promise<void>;
  /** Make a PEFT folder known as `name` (replacing that name): a location as this place writes it, or any source. */
  loadAdapter(name: string, folder: string | FolderSource): Promise<void>;
  /** Hold an adapter to its receipt and replay a probe of it; null where there is nothing to replay. */
  probe(name: string): Promise<ProbeResult | null>;

  /** Answer a prompt, or each of a list; with `stream` text comes as it is made. */
  generate(prompt: string, options: GenerateOptions & WithAdapter & { readonly stream: true }): AsyncIterable<string>;
  generate(prompt: string, options?: GenerateOptions & WithAdapter & { readonly stream?: false }): Promise<Generation>;
  generate(
    prompts: readonly string[],
    options?: GenerateOptions & WithAdapters & { readonly stream?: false },
  ): Promise<Generation[]>;

  /** Answer a conversation of `{role, content}` messages. */
  chat(
    messages: readonly Message[],
    options: TextOptions & WithAdapter & { readonly stream: true },
  ): AsyncIterable<string>;
  chat(
    messages: readonly Message[],
    options?: TextOptions & WithAdapter & { readonly stream?: false },
  ): Promise<Generation>;

  /** Continue token ids, or each list of a batch; what comes back leaves out the end token. */
  generateIds(ids: readonly number[], options?: IdOptions & WithAdapter): Promise<number[]>;
  generateIds(ids: readonly (readonly number[])[], options?: IdOptions & WithAdapters): Promise<number[][]>;

  /** Logits (vocab_size,) after the token at each of `positions`, by default after every one. */
  logits(
    ids: readonly number[],
    options?: WithAdapter & { readonly positions?: readonly number[] | undefined },
  ): Promise<Float32Array[]>;
  /** Log-probability (completion length,) of each completion token after the prompt and those before it. */
  score(
    promptIds: readonly number[],
    completionIds: readonly number[],
    options?: WithAdapter,
  ): Promise<Float64Array>;

  /** Let go of sessions and device memory; the model answers nothing afterwards. */
  dispose(): Promise<void>;
}

/** Open an artifact. Throws ArtifactError for a damaged one, AdapterError naming an adapter that is not its receipt's. */
export type LoadModel = (source: ArtifactSource, backend: Backend, options?: LoadOptions) => Promise<ModelApi>;
