/**
 * Opens an artifact as the model of its task.
 *
 * Knows nothing about what a model does; what computes is loaded with an artifact of its task alone.
 */

import { throwIfAborted, untilAborted } from "./abort.js";
import type { EncoderModel } from "./encoder-model.js";
import { ArtifactError, InputError } from "./errors.js";
import type { Task } from "./format.js";
import { readManifest } from "./manifest.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import type { CallOptions } from "./request.js";
import type { TextModel } from "./text-model.js";

export type { ChatOptions, GenerateOptions } from "./text-model.js";

/**
 * A loaded artifact that generates: what `load` gives here and `loadInWorker` of one in a worker. `TextModel` says what
 * each method does.
 */
export type Model = Pick<TextModel, keyof TextModel>;

/** Options of `loadModel`; entry files add those of their place. */
export interface LoadOptions extends CallOptions {
  /** Compare the hash of every file with the manifest, not the sizes alone. */
  readonly hashes?: boolean | undefined;
  /** Hold every adapter to its receipt: factors, base, and one replayed probe. */
  readonly probe?: boolean | undefined;
  /** Keep the graph without slots in memory beside the one with slots, for calls without an adapter. */
  readonly twin?: boolean | undefined;
  /** Bounds the memory of adapters: beyond it those not used for longest are dropped, and read again when asked for. */
  readonly adapterBytes?: number | undefined;
}

/** What `load` is asked for: a task, or whatever the artifact is made for. */
export type Wanted = Task | "any";

/** The model of a task. */
export type ModelOf<Want extends Wanted> = Want extends "any"
  ? Model | EncoderModel
  : Want extends "text-generation"
    ? Model
    : EncoderModel;

/** Names what is wanted, so that the model has the type of it. */
export interface ForTask<Want extends Wanted> {
  /**
   * What the artifact must be for. Where it is left out every artifact is taken, but the type is that of a model which
   * generates; `any` has the type of both.
   */
  readonly task?: Want | undefined;
}

/**
 * Open an artifact. Throws ArtifactError for a damaged one and one of another task, AdapterError naming an adapter that is
 * not its receipt's, and at once the reason of an aborted `signal`, which ends with the load. Nothing is left open then; a
 * session that is being made is let go of when it is there.
 */
export function loadModel<Want extends Wanted = "text-generation">(
  source: ArtifactSource,
  backend: Backend,
  options: LoadOptions & ForTask<Want> = {},
): Promise<ModelOf<Want>> {
  return untilAborted(openModel(source, backend, options), options.signal, (model) => model.dispose());
}

async function openModel<Want extends Wanted>(
  source: ArtifactSource,
  backend: Backend,
  options: LoadOptions & ForTask<Want>,
): Promise<ModelOf<Want>> {
  const { hashes = false, probe = false, twin = false, adapterBytes = null, signal } = options;
  if (adapterBytes !== null && !(Number.isSafeInteger(adapterBytes) && adapterBytes > 0)) {
    throw new InputError(`adapterBytes is ${show(adapterBytes)}, expected a whole number from 1`);
  }
  throwIfAborted(signal);
  const manifest = await readManifest(source);
  throwIfAborted(signal);
  const wanted: Wanted = options.task ?? "any";
  if (wanted !== "any" && wanted !== manifest.task) {
    throw new ArtifactError(`${source.where} is for ${manifest.task}, expected ${wanted}; load another artifact`);
  }
  if (hashes) void [...manifest.adapters]; // who asks for all files asks for every entry, too: a wrong one is refused
  await source.prepare(manifest, hashes);
  throwIfAborted(signal);
  if (manifest.tokenizer !== null) await (await import("./text.js")).checkTemplate(source, manifest.tokenizer);
  throwIfAborted(signal);
  const model: Model | EncoderModel =
    manifest.task === "text-generation" // each has no use for the other
      ? await (await import("./text-model.js")).openText(source, manifest, backend, twin, adapterBytes)
      : await (await import("./encoder-model.js")).openEncoder(source, manifest, backend, adapterBytes);
  try {
    for (const name of probe ? manifest.adapterNames : []) await model.probe(name, { signal });
    throwIfAborted(signal); // opening a graph cannot be ended, so that this may be the first chance
  } catch (error) {
    await model.dispose(); // a session of wasm or of a GPU is collected by nobody
    throw error;
  }
  return model as ModelOf<Want>;
}
