/**
 * The options of one call, checked together.
 *
 * Knows nothing about answering: names, ranges and what excludes what.
 */

import { InputError } from "./errors.js";
import { show } from "./parse-json.js";
import type { Variables } from "./rendering.js";
import { checkSampling, type Sampling, type SamplingOptions } from "./sampling.js";

/** A JSON Schema as it is, or its JSON text. */
export type Schema = string | boolean | { readonly [name: string]: unknown };

/**
 * Changes the float32 `logits` (vocab_size,) of the next token in place, `tokenIds` being those so far, the prompt's
 * too; what gives true ends the answer there.
 */
export type ProcessLogits = (
  tokenIds: readonly number[],
  logits: Float32Array,
  // biome-ignore lint/suspicious/noConfusingVoidType: functions that return nothing are meant
) => boolean | void | Promise<boolean | void>;

/** What every call takes. */
export interface CallOptions {
  /** Rejects at once with the signal's reason, and ends the call between two steps; the model stays usable. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `generateIds` beside the adapter. */
export interface IdOptions extends SamplingOptions, CallOptions {
  /** 128 unless given. */
  readonly maxNewTokens?: number | undefined;
  /** Sees the logits of every token before it is chosen; of all rows, or one for each. Not in a worker. */
  readonly processLogits?: ProcessLogits | readonly (ProcessLogits | null)[] | undefined;
}

/** Options of `generate` and `chat` beside adapter, raw and stream. */
export interface TextOptions extends IdOptions {
  /** A stop string, or several: an answer ends before any of them. */
  readonly stop?: string | readonly string[] | undefined;
  /** Answer with the likeliest of these strings. */
  readonly choices?: readonly string[] | undefined;
  /** A JSON Schema that the answer keeps to, or one for each prompt; `docs/format.md` says what is read of it. */
  readonly schema?: Schema | readonly (Schema | null)[] | undefined;
  /** A regular expression that the whole answer matches, or one for each prompt. */
  readonly regex?: string | readonly (string | null)[] | undefined;
  /** Variables of the chat template, as `{ enable_thinking: false }`, beside those of the artifact. */
  readonly template?: Variables | undefined;
  /** The day (YYYY-MM-DD) that a template with a date writes, today where it is left out. */
  readonly date?: string | undefined;
}

/** One SPEC: `none`, `NAME`, `NAME:WEIGHT`, or several joined by `+`. Without one a call uses `model.adapter`. */
export interface WithAdapter {
  readonly adapter?: string | undefined;
}

/** One SPEC for all rows, or one for each. */
export interface WithAdapters {
  readonly adapter?: string | readonly string[] | undefined;
}

/** Options that passed the check. */
export interface Request {
  readonly sampling: Sampling;
  readonly maxNewTokens: number;
  readonly stops: readonly string[];
  readonly choices: readonly string[] | null;
  readonly signal: AbortSignal | undefined;
  /** None, one for all rows, or one for each. */
  readonly processLogits: readonly (ProcessLogits | null)[];
  readonly schemas: readonly unknown[];
  readonly regexes: readonly unknown[];
}

/** Check options; throws one InputError with everything that is wrong. */
export function makeRequest(options: TextOptions): Request {
  const { sampling, wrong } = checkSampling(options);
  const { maxNewTokens = 128, stop = [], choices = null, signal } = options;
  const stops: readonly unknown[] = typeof stop === "string" ? [stop] : Array.isArray(stop) ? stop : [null];
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    wrong.push(`maxNewTokens is ${show(maxNewTokens)}, expected a whole number from 1`);
  }
  if (!stops.every((item) => typeof item === "string" && item !== "")) {
    wrong.push(`stop is ${show(stop)}, expected strings that are not empty`);
  }
  if (choices !== null) {
    if (!Array.isArray(choices) || !choices.every((item) => typeof item === "string")) {
      wrong.push(`choices is ${show(choices)}, expected a list of strings`);
    } else if (choices.length === 0 || new Set(choices).size !== choices.length) {
      wrong.push(`choices is ${show(choices)}, expected at least one string, all different`);
    }
    if (stops.length > 0) wrong.push("choices and stop exclude each other");
  }
  const [schemas, regexes] = [listOf(options.schema), listOf(options.regex)];
  if (schemas.length + regexes.length > 0 && (choices !== null || stops.length > 0)) {
    wrong.push(`schema and regex exclude ${choices === null ? "stop" : "choices"}; leave one out`);
  }
  const processLogits = listOf(options.processLogits);
  if (!processLogits.every((process) => process === null || typeof process === "function")) {
    wrong.push("processLogits holds what is no function (tokenIds, logits); give one, or one for each prompt");
  }
  if (choices !== null && processLogits.length > 0) {
    wrong.push("choices and processLogits exclude each other: choices are weighed whole; leave one out");
  }
  for (const name of ["schema", "regex", "processLogits"] as const) {
    const given = options[name];
    if (Array.isArray(given) && given.length === 0) {
      wrong.push(`${name} is an empty list; give one, or one for each prompt, or leave it out`);
    }
  }
  if (wrong.length > 0) throw new InputError(wrong.join("; "));
  return {
    sampling,
    maxNewTokens,
    stops: stops as string[],
    choices,
    signal,
    processLogits: processLogits as (ProcessLogits | null)[],
    schemas,
    regexes,
  };
}

/** What is given for row `index` of `rows`: one for all, or its own; null where there is nothing. */
export function ofRow<Item>(name: string, items: readonly Item[], index: number, rows: number): Item | null {
  if (items.length <= 1) return items[0] ?? null;
  if (items.length === rows) return items[index] ?? null;
  throw new InputError(`${name}: ${items.length} for ${rows} prompts; give one, or one for each prompt`);
}

function listOf(given: unknown): readonly unknown[] {
  if (given === undefined || given === null) return [];
  return Array.isArray(given) ? given : [given];
}
