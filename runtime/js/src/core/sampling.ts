/**
 * Choose the next token from logits: greedy, or a seeded draw that every language repeats exactly.
 *
 * Knows nothing about sessions, caches or text: numbers in, one token id out. `docs/format.md` is the definition.
 */

import { show } from "./parse-json.js";

const MASK64 = (1n << 64n) - 1n;
const MULTIPLIER = 6364136223846793005n;
const STREAM = 54;
const FIRST_CANDIDATES = 128; // almost every draw ends within these; more are sorted only when it does not

/** How tokens are chosen; `temperature` 0, the default, is greedy. */
export interface SamplingOptions {
  readonly temperature?: number | undefined;
  /** 0: no limit. */
  readonly topK?: number | undefined;
  readonly topP?: number | undefined;
  readonly minP?: number | undefined;
  /** 1: no penalty. */
  readonly repetitionPenalty?: number | undefined;
  /** A whole number from 0 to 2**64 - 1; give those above 2**53 as bigint. Without one, every call draws anew. */
  readonly seed?: number | bigint | null | undefined;
}

/** Every option with its value. */
export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: bigint | null;
}

/** The options with their defaults, and a line for each that is out of range. */
export function checkSampling(options: SamplingOptions): { sampling: Sampling; wrong: string[] } {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed = null } = options;
  const wrong: string[] = [];
  const check = (name: string, value: unknown, isRight: boolean, expected: string) => {
    if (!isRight) wrong.push(`${name} is ${show(value)}, expected ${expected}`);
  };
  check("temperature", temperature, isNumber(temperature, 0, Infinity), "a number from 0");
  check("topK", topK, isWhole(topK), "a whole number from 0 (0: no limit)");
  check("topP", topP, isNumber(topP, 0, 1) && topP > 0, "a number above 0 and up to 1");
  check("minP", minP, isNumber(minP, 0, 1), "a number from 0 to 1");
  const isPenalty = isNumber(repetitionPenalty, 0, Infinity) && repetitionPenalty > 0;
  check("repetitionPenalty", repetitionPenalty, isPenalty, "a number above 0 (1: no penalty)");
  const isSeed = seed === null || isWhole(seed) || (typeof seed === "bigint" && seed >= 0n && seed <= MASK64);
  check("seed", seed, isSeed, "a whole number from 0 to 2**64 - 1 (a bigint above 2**53), or null");
  const wide = seed === null || !isSeed ? null : BigInt(seed);
  return { sampling: { temperature, topK, topP, minP, repetitionPenalty, seed: wide }, wrong };
}

/** The PCG32 generator (XSH-RR, 64-bit state), seeded as in its reference algorithm. */
export class Pcg32 {
  readonly #increment: bigint;
  #state = 0n;

  constructor(seed: bigint, stream: number = STREAM) {
    this.#increment = ((BigInt(stream) << 1n) | 1n) & MASK64;
    this.nextUint32();
    this.#state = (this.#state + seed) & MASK64;
    this.nextUint32();
  }

  /** The next 32 bits. */
  nextUint32(): number {
    const old = this.#state;
    this.#state = (old * MULTIPLIER + this.#increment) & MASK64;
    const shifted = Number((((old >> 18n) ^ old) >> 27n) & 0xffffffffn);
    const rotation = Number(old >> 59n);
    return ((shifted >>> rotation) | (shifted << (-rotation & 31))) >>> 0;
  }

  /** A number in [0, 1) with 32 random bits. */
  uniform(): number {
    return this.nextUint32() / 4294967296;
  }
}

/** Chooses the tokens of one row, remembering what the repetition penalty and the generator need. */
export class Sampler {
  readonly #sampling: Sampling;
  readonly #generator: Pcg32 | null;
  readonly #seen: Set<number> | null;
  #scores: Float64Array | null = null;

  constructor(sampling: Sampling, promptIds: readonly number[] = [], row = 0) {
    this.#sampling = sampling;
    this.#generator = sampling.temperature === 0 ? null : new Pcg32(sampling.seed ?? randomSeed(), STREAM + row);
    this.#seen = sampling.repetitionPenalty === 1 ? null : new Set(promptIds);
  }

  /** The next token for `logits` (vocab_size,); the array is left as it was. */
  choose(logits: Float32Array): number {
    const scores = this.#seen === null ? logits : this.#penalize(logits, this.#seen);
    const token =
      this.#generator === null ? largestIndex(scores) : draw(scores, this.#generator.uniform(), this.#sampling);
    this.#seen?.add(token);
    return token;
  }

  #penalize(logits: Float32Array, seen: ReadonlySet<number>): Float64Array {
    if (this.#scores?.length !== logits.length) this.#scores = new Float64Array(logits.length);
    const scores = this.#scores;
    scores.set(logits);
    const penalty = this.#sampling.repetitionPenalty;
    for (const id of seen) {
      const value = scores[id] as number;
      scores[id] = value > 0 ? value / penalty : value * penalty;
    }
    return scores;
  }
}

type Scores = Float32Array | Float64Array;

/** The index of the largest score, the lowest among equals. */
export function largestIndex(scores: Scores): number {
  let best = 0;
  let peak = scores[0] as number;
  for (let index = 1; index < scores.length; index++) {
    const score = scores[index] as number;
    if (score > peak) {
      peak = score;
      best = index;
    }
  }
  return best;
}

/** Log-probabilities of one row of logits, in float64. */
export function logSoftmax(logits: Float32Array): Float64Array {
  const peak = logits[largestIndex(logits)] as number;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - peak);
  const shift = peak + Math.log(total);
  return Float64Array.from(logits, (logit) => logit - shift);
}

/** Indices of the `count` largest scores, largest first, the lower index first among equals. */
export function largest(scores: Scores, count: number): Int32Array {
  const wanted = Math.min(count, scores.length);
  const before = (one: number, other: number) => (scores[other] as number) - (scores[one] as number) || one - other;
  if (wanted * 4 >= scores.length) {
    // Not from keys(): old versions of Hermes make nothing of an iterator.
    return Int32Array.from(scores, (_, index) => index)
      .sort(before)
      .subarray(0, wanted);
  }
  // A heap whose root is the worst of those kept: nearly every score is told by one comparison with it.
  const heap = Int32Array.from({ length: wanted }, (_, index) => index).sort((one, other) => before(other, one));
  let least = scores[heap[0] as number] as number;
  for (let index = wanted; index < scores.length; index++) {
    if ((scores[index] as number) > least) {
      replaceRoot(heap, index, before);
      least = scores[heap[0] as number] as number;
    }
  }
  return heap.sort(before);
}

/** Put `index` in the place of the worst entry of the heap. */
function replaceRoot(heap: Int32Array, index: number, before: (one: number, other: number) => number): void {
  let hole = 0;
  for (;;) {
    let child = 2 * hole + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as number, heap[child] as number) > 0) child += 1;
    if (before(index, heap[child] as number) >= 0) break;
    heap[hole] = heap[child] as number;
    hole = child;
  }
  heap[hole] = index;
}

function draw(scores: Scores, uniform: number, sampling: Sampling): number {
  const { temperature, topK } = sampling;
  const isCut = topK > 0 && topK < scores.length;
  let count = isCut ? topK : Math.min(FIRST_CANDIDATES, scores.length);
  const peak = scores[largestIndex(scores)] as number;
  let total = -1; // of all weights, known once it is needed
  for (;;) {
    const order = largest(scores, count);
    const weights = Float64Array.from(order, (index) => Math.exp(((scores[index] as number) - peak) / temperature));
    const isAll = isCut || count === scores.length;
    if (isCut) total = sum(weights);
    else if (total < 0) total = sumOfWeights(scores, peak, temperature);
    const index = pick(weights, total, uniform, sampling, isAll);
    if (index >= 0) return order[index] as number;
    count = Math.min(count * 16, scores.length);
  }
}

/** Index of the drawn candidate among descending `weights`; -1 when the answer may lie beyond them. */
function pick(weights: Float64Array, total: number, uniform: number, sampling: Sampling, isAll: boolean): number {
  const { topP, minP } = sampling;
  const cumulated = cumulate(weights);
  let kept = weights.length;
  if (topP < 1) {
    const reached = cumulated.findIndex((mass) => mass >= topP * total);
    if (reached < 0 && !isAll) return -1;
    if (reached >= 0) kept = reached + 1;
  }
  if (minP > 0) {
    const least = minP * (weights[0] as number);
    const below = weights.findIndex((weight) => weight < least);
    if (below < 0 && !isAll && kept === weights.length) return -1;
    if (below >= 0) kept = Math.min(kept, below);
  }
  const mass = topP < 1 || minP > 0 ? (cumulated[kept - 1] as number) : total;
  const index = cumulated.subarray(0, kept).findIndex((reached) => reached > uniform * mass);
  if (index >= 0) return index;
  return kept === weights.length && !isAll ? -1 : kept - 1;
}

function sumOfWeights(scores: Scores, peak: number, temperature: number): number {
  let total = 0;
  for (const score of scores) total += Math.exp((score - peak) / temperature);
  return total;
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function cumulate(values: Float64Array): Float64Array {
  let total = 0;
  return values.map((value) => {
    total += value;
    return total;
  });
}

/** 64 bits from the system; where there is no `crypto`, the 52 of `Math.random`. */
function randomSeed(): bigint {
  if (typeof crypto === "undefined") return BigInt(Math.floor(Math.random() * Number.MAX_SAFE_INTEGER));
  return crypto.getRandomValues(new BigUint64Array(1))[0] as bigint;
}

function isNumber(value: unknown, low: number, high: number): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= low && value <= high;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
