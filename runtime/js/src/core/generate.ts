/**
 * Decode loops over token ids: one row or many, restricted choices, log-probabilities.
 *
 * Knows nothing about text: the caller turns tokens into characters and says when a row has seen enough.
 */

import { throwIfAborted } from "./abort.js";
import type { Acting } from "./bound-adapter.js";
import { logSoftmax, type Sampler } from "./sampling.js";
import { type Session, sharedLength } from "./session.js";

/** Why an answer ended; `cancelled` is one that was stopped by whoever read it. */
export type FinishReason = "stop" | "length" | "choice" | "cancelled";

/** What computes, and the adapter in the memory of that. */
export interface Place {
  readonly session: Session;
  readonly acting: Acting;
}

/** What one decoding is to do. */
export interface Task {
  /** Where it is computed; asked for anew when that has changed. */
  readonly place: () => Promise<Place>;
  /** Whether what failed with an error can be computed in another place. */
  readonly recover: (error: unknown) => Promise<boolean>;
  readonly prompts: readonly (readonly number[])[];
  readonly samplers: readonly Sampler[];
  readonly maxNewTokens: number;
  /** Tokens that end a row and are not handed out. */
  readonly endIds: ReadonlySet<number>;
  readonly signal: AbortSignal | undefined;
  /** For each row what sees its logits first, null for nothing. */
  readonly processes: readonly (Process | null)[];
}

/** Changes the logits (vocab_size,) after these tokens in place; true ends the row before another token. */
export type Process = (tokenIds: readonly number[], logits: Float32Array) => unknown;

/**
 * Generates rows together; iterate for [row, token], call `finish` to end a row early. `reasons` says why each row
 * ended.
 */
export class Decoding implements AsyncIterable<readonly [number, number]> {
  readonly #task: Task;
  readonly #isActive: boolean[];
  readonly #soFar: number[][]; // tokens of each row, its prompt's first
  readonly reasons: FinishReason[];

  constructor(task: Task) {
    this.#task = task;
    this.#isActive = task.prompts.map(() => true);
    this.#soFar = task.prompts.map((ids) => [...ids]);
    this.reasons = task.prompts.map(() => "length");
  }

  /** End `row` after the token that was handed out last. */
  finish(row: number): void {
    this.#isActive[row] = false;
    this.reasons[row] = "stop";
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly [number, number]> {
    const { samplers, maxNewTokens, signal } = this.#task;
    let [session, logits] = await this.#computed(() => this.#begin());
    const tokens = samplers.map(() => 0);
    for (let count = 1; ; count++) {
      for (let row = 0; row < tokens.length; row++) {
        if (!this.#isActive[row]) continue;
        const token = await this.#choose(row, logits[row] as Float32Array);
        if (token === null) continue;
        tokens[row] = token;
        yield [row, token];
        throwIfAborted(signal);
      }
      session.lengths.forEach((length, row) => {
        if (length >= session.contextLength) this.#isActive[row] = false;
      });
      if (count === maxNewTokens || !this.#isActive.includes(true)) return;
      const here = session;
      [session, logits] = await this.#computed(async () => [here, await here.decode(tokens, this.#isActive)]);
      throwIfAborted(signal);
    }
  }

  /** The next token of `row`; null where the row has ended, and is finished. */
  async #choose(row: number, given: Float32Array): Promise<number | null> {
    const { samplers, endIds, processes, signal } = this.#task;
    const process = processes[row] ?? null;
    const logits = process === null ? given : given.slice(); // what a session hands out may be its own memory
    if (process !== null) {
      const isEnd = process(this.#soFar[row] as number[], logits);
      const isDone = isEnd instanceof Promise ? await isEnd : isEnd;
      throwIfAborted(signal);
      if (isDone === true) {
        this.finish(row);
        return null;
      }
    }
    const token = (samplers[row] as Sampler).choose(logits);
    if (endIds.has(token)) {
      this.finish(row);
      return null;
    }
    this.#soFar[row]?.push(token);
    return token;
  }

  /** What `step` gives; where it fails and there is another place, the same of all tokens so far there. */
  async #computed(step: () => Promise<Computed>): Promise<Computed> {
    try {
      return await step();
    } catch (error) {
      if (!(await this.#task.recover(error))) throw error;
      return this.#begin();
    }
  }

  /** Fill the cache with the prompts, and what was written after them already. */
  async #begin(): Promise<Computed> {
    const { place, prompts, signal } = this.#task;
    throwIfAborted(signal);
    const { session, acting } = await place();
    const rows = prompts.map((ids, row) => (this.#isActive[row] ? [...(this.#soFar[row] as number[])] : ids));
    const [row, ...others] = rows;
    let logits: readonly Float32Array[];
    if (row !== undefined && others.length === 0) {
      logits = await feed(session, acting, row, row.length - 1, signal);
    } else {
      await session.begin(rows.length, acting);
      logits = await session.prefillRows(rows);
    }
    throwIfAborted(signal);
    return [session, logits];
  }
}

/** Logits (vocab_size,) of each row, and what computed them. */
type Computed = readonly [Session, readonly Float32Array[]];

/** Logits (vocab_size,) after each of the tokens from index `first` on. */
export async function feed(
  session: Session,
  acting: Acting,
  ids: readonly number[],
  first: number,
  signal?: AbortSignal | undefined,
): Promise<Float32Array[]> {
  const positions = Array.from({ length: ids.length - first }, (_, index) => first + index);
  return logitsAt(session, acting, ids, positions, signal);
}

/**
 * Put `ids` into the single row, keeping the longest common beginning of the cache. Logits (vocab_size,) after the
 * tokens at `positions`, of which there must be one.
 */
export async function logitsAt(
  session: Session,
  acting: Acting,
  ids: readonly number[],
  positions: readonly number[],
  signal?: AbortSignal | undefined,
): Promise<Float32Array[]> {
  const kept = await session.resume(acting, ids, Math.min(...positions));
  return session.prefill(
    ids.slice(kept),
    positions.map((position) => position - kept),
    signal,
  );
}

/** Log-probability of each token of `completion` after `prompt`: (completion length,). */
export async function scoreTokens(
  session: Session,
  acting: Acting,
  prompt: readonly number[],
  completion: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  if (completion.length === 0) return new Float64Array(0);
  const logits = await feed(session, acting, [...prompt, ...completion.slice(0, -1)], prompt.length - 1, signal);
  return Float64Array.from(completion, (token, index) => logSoftmax(logits[index] as Float32Array)[token] as number);
}

/**
 * Summed log-probability of the tokens of each choice and of ending there: of any of `endIds`; with none of them the
 * tokens alone count. The prompt is computed once, and choices that begin alike share that beginning.
 */
export async function scoreChoices(
  session: Session,
  acting: Acting,
  prompt: readonly number[],
  choices: readonly (readonly number[])[],
  endIds: readonly number[],
  signal?: AbortSignal | undefined,
): Promise<number[]> {
  const [first] = await feed(session, acting, prompt, prompt.length - 1, signal);
  let after = [logSoftmax(first as Float32Array)]; // one more than the tokens of `path`
  let path: readonly number[] = [];
  const scores = choices.map(() => 0);
  const order = choices.map((_, index) => index).sort((one, other) => compareIds(choices[one], choices[other]));
  for (const index of order) {
    throwIfAborted(signal);
    const choice = choices[index] as readonly number[];
    const shared = sharedLength(path, choice);
    session.rewind(prompt.length + shared);
    path = choice;
    after = after.slice(0, shared + 1);
    const rest = choice.slice(shared);
    const found = rest.length === 0 ? [] : await session.prefill(rest, [...rest.keys()], signal);
    after.push(...found.map(logSoftmax));
    const score = choice.reduce((sum, token, place) => sum + (after[place]?.[token] as number), 0);
    const last = after[after.length - 1] as Float64Array;
    scores[index] = score + (endIds.length > 0 ? logSumExp(endIds.map((id) => last[id] as number)) : 0);
  }
  return scores;
}

/** Choices in the order in which neighbours share the longest beginnings. */
function compareIds(one: readonly number[] = [], other: readonly number[] = []): number {
  const shared = sharedLength(one, other);
  return (one[shared] ?? -1) - (other[shared] ?? -1);
}

function logSumExp(values: readonly number[]): number {
  const peak = Math.max(...values);
  return peak + Math.log(values.reduce((sum, value) => sum + Math.exp(value - peak), 0));
}
