/**
 * The KV cache between runs: memory that attention appends to in place, or tensors that onnxruntime hands back.
 *
 * Knows nothing about tokens or adapters: names, rows and how many positions are in use.
 */

import type { Backend, Feeds, Fetches, Tensor } from "./backend.js";
import type { ModelInfo } from "./manifest.js";

const FIRST_CAPACITY = 256; // positions; doubled whenever more are needed
const SMALL_STEP = 64; // positions, where what is not used costs time in every step

/** Names of the inputs and outputs of one half of a layer's cache. */
export interface CacheName {
  readonly past: string;
  readonly present: string;
}

/** One cache for all layers. What lies beyond the positions in use is overwritten and means nothing. */
export interface KvCache {
  /** Begin `rows` empty rows. */
  start(rows: number): void;
  /** Make room for `total` positions, keeping the first `used`. */
  reserve(total: number, used: number): void;
  /** Put the past among the inputs, and among the outputs where the present has a place already. */
  feed(feeds: Feeds, fetches: Fetches): void;
  /** Take the present from what a run gave, as the past of the next. */
  take(results: Readonly<Record<string, Tensor>>): void;
  dispose(): void;
}

/** Names in the order of the layers, key before value. */
export function cacheNames(model: ModelInfo): CacheName[] {
  return Array.from({ length: model.numLayers }, (_, layer) =>
    ["key", "value"].map((half) => ({ past: `past_key_values.${layer}.${half}`, present: `present.${layer}.${half}` })),
  ).flat();
}

/** The cache that suits a backend. */
export function makeCache(backend: Backend, model: ModelInfo): KvCache {
  const { cache } = backend.capabilities;
  return cache === "returned" ? new ReturnedCache(backend, model) : new InPlaceCache(backend, model);
}

/** Past and present are one array (rows, num_kv_heads, capacity, head_dim), so a step copies nothing. */
class InPlaceCache implements KvCache {
  readonly #backend: Backend;
  readonly #model: ModelInfo;
  readonly #names: readonly CacheName[];
  #rows = 0;
  #capacity = 0;
  #arrays: Float32Array[] = [];
  #tensors: Tensor[] = [];

  constructor(backend: Backend, model: ModelInfo) {
    this.#backend = backend;
    this.#model = model;
    this.#names = cacheNames(model);
  }

  start(rows: number): void {
    if (rows === this.#rows) return;
    this.dispose();
    this.#rows = rows;
  }

  reserve(total: number, used: number): void {
    if (total <= this.#capacity) return;
    const { contextLength, numKvHeads, headDim } = this.#model;
    const capacity = Math.min(this.#roomFor(total), contextLength);
    const n_heads = this.#rows * numKvHeads;
    const kept = this.#arrays;
    const [before, after] = [this.#capacity * headDim, capacity * headDim];
    this.#arrays = this.#names.map((_, index) => {
      const grown = new Float32Array(n_heads * after);
      for (let head = 0; used > 0 && head < n_heads; head++) {
        const part = (kept[index] as Float32Array).subarray(head * before, head * before + used * headDim);
        grown.set(part, head * after);
      }
      return grown;
    });
    const dims = [this.#rows, numKvHeads, capacity, headDim];
    this.#tensors = this.#arrays.map((array) => new this.#backend.ort.Tensor("float32", array, dims));
    this.#capacity = capacity;
  }

  #roomFor(total: number): number {
    if (this.#backend.capabilities.cache === "in-steps") return SMALL_STEP * Math.ceil(total / SMALL_STEP);
    let capacity = Math.max(this.#capacity, FIRST_CAPACITY);
    while (capacity < total) capacity *= 2;
    return capacity;
  }

  feed(feeds: Feeds, fetches: Fetches): void {
    this.#names.forEach(({ past, present }, index) => {
      const tensor = this.#tensors[index] as Tensor;
      feeds[past] = tensor;
      fetches[present] = tensor;
    });
  }

  take(): void {}

  dispose(): void {
    this.#rows = 0;
    this.#capacity = 0;
    this.#arrays = [];
    this.#tensors = [];
  }
}

/** Each run makes a new present, exactly as long as it must be or as its past was; it stays where the device made it. */
class ReturnedCache implements KvCache {
  readonly #backend: Backend;
  readonly #model: ModelInfo;
  readonly #names: readonly CacheName[];
  #tensors: Tensor[] = [];

  constructor(backend: Backend, model: ModelInfo) {
    this.#backend = backend;
    this.#model = model;
    this.#names = cacheNames(model);
  }

  start(rows: number): void {
    this.dispose();
    const dims = [rows, this.#model.numKvHeads, 0, this.#model.headDim];
    this.#tensors = this.#names.map(() => new this.#backend.ort.Tensor("float32", new Float32Array(0), dims));
  }

  reserve(): void {}

  feed(feeds: Feeds): void {
    this.#names.forEach(({ past }, index) => {
      feeds[past] = this.#tensors[index] as Tensor;
    });
  }

  take(results: Readonly<Record<string, Tensor>>): void {
    this.dispose();
    this.#tensors = this.#names.map(({ present }) => results[present] as Tensor);
  }

  dispose(): void {
    for (const tensor of this.#tensors) tensor.dispose();
    this.#tensors = [];
  }
}
