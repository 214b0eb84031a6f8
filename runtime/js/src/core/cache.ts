/**
 * The KV cache between runs: memory that attention appends to in place, or tensors that onnxruntime hands back.
 *
 * Knows nothing about tokens or adapters: names, rows and how many positions are in use.
 */

import type { CacheType, Manifest, ModelInfo } from "./format.js";
import type { Backend, Feeds, Fetches, KvCache, MakeCache, Tensor } from "./ports.js";

const FIRST_CAPACITY = 256; // positions; doubled whenever more are needed
const SMALL_STEP = 64; // positions, where what is not used costs time in every step

/** Names of the inputs and outputs of one half of a layer's cache. */
export interface CacheName {
  readonly past: string;
  readonly present: string;
}

/** Names in the order of the layers, key before value. */
export function cacheNames(model: ModelInfo): CacheName[] {
  return Array.from({ length: model.numLayers }, (_, layer) =>
    ["key", "value"].map((half) => ({ past: `past_key_values.${layer}.${half}`, present: `present.${layer}.${half}` })),
  ).flat();
}

/** For backends whose `capabilities.cache` is `in-place` or `in-steps`. */
export const inPlaceCache: MakeCache = (backend, manifest) => new InPlaceCache(backend, manifest);

/** For backends whose `capabilities.cache` is `returned`. */
export const returnedCache: MakeCache = (backend, manifest) => new ReturnedCache(backend, manifest);

type Numbers = Float32Array | Int8Array;

/** What both kinds know: names, shape and type of their tensors. */
abstract class Cache {
  protected readonly names: readonly CacheName[];
  protected readonly model: ModelInfo;
  protected tensors: Tensor[] = [];
  readonly #type: CacheType;

  constructor(
    protected readonly backend: Backend,
    { model, graph }: Manifest,
  ) {
    this.names = cacheNames(model);
    this.model = model;
    this.#type = graph.kvCache;
  }

  protected zeros(length: number): Numbers {
    return new (this.#type === "int8" ? Int8Array : Float32Array)(length);
  }

  /** A tensor (rows, num_kv_heads, capacity, head_dim) over `data`. */
  protected over(data: Numbers, rows: number, capacity: number): Tensor {
    const dims = [rows, this.model.numKvHeads, capacity, this.model.headDim];
    // The type goes with the data, which an overload for each pair cannot say.
    return new this.backend.ort.Tensor(this.#type as "int8", data as Int8Array, dims);
  }
}

/** Past and present are one array (rows, num_kv_heads, capacity, head_dim), so a step copies nothing. */
class InPlaceCache extends Cache implements KvCache {
  #rows = 0;
  #capacity = 0;
  #arrays: Numbers[] = [];

  start(rows: number): void {
    if (rows === this.#rows) return;
    this.dispose();
    this.#rows = rows;
  }

  reserve(total: number, used: number): void {
    if (total <= this.#capacity) return;
    const { contextLength, numKvHeads, headDim } = this.model;
    const capacity = Math.min(this.#roomFor(total), contextLength);
    const n_heads = this.#rows * numKvHeads;
    const kept = this.#arrays;
    const [before, after] = [this.#capacity * headDim, capacity * headDim];
    this.#arrays = this.names.map((_, index) => {
      const grown = this.zeros(n_heads * after);
      for (let head = 0; used > 0 && head < n_heads; head++) {
        const part = (kept[index] as Numbers).subarray(head * before, head * before + used * headDim);
        grown.set(part, head * after);
      }
      return grown;
    });
    this.tensors = this.#arrays.map((array) => this.over(array, this.#rows, capacity));
    this.#capacity = capacity;
  }

  #roomFor(total: number): number {
    if (this.backend.capabilities.cache === "in-steps") return SMALL_STEP * Math.ceil(total / SMALL_STEP);
    let capacity = Math.max(this.#capacity, FIRST_CAPACITY);
    while (capacity < total) capacity *= 2;
    return capacity;
  }

  feed(feeds: Feeds, fetches: Fetches): void {
    this.names.forEach(({ past, present }, index) => {
      const tensor = this.tensors[index] as Tensor;
      feeds[past] = tensor;
      fetches[present] = tensor;
    });
  }

  take(): void {}

  dispose(): void {
    this.#rows = 0;
    this.#capacity = 0;
    this.#arrays = [];
    this.tensors = [];
  }
}

/** Each run makes a new present, exactly as long as it must be or as its past was; it stays where the device made it. */
class ReturnedCache extends Cache implements KvCache {
  start(rows: number): void {
    this.dispose();
    this.tensors = this.names.map(() => this.over(this.zeros(0), rows, 0));
  }

  reserve(): void {}

  feed(feeds: Feeds): void {
    this.names.forEach(({ past }, index) => {
      feeds[past] = this.tensors[index] as Tensor;
    });
  }

  take(results: Readonly<Record<string, Tensor>>): void {
    this.dispose();
    this.tensors = this.names.map(({ present }) => results[present] as Tensor);
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose();
    this.tensors = [];
  }
}
