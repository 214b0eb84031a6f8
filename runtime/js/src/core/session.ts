/**
 * One step on onnxruntime: token ids and a KV cache go in, logits come out.
 *
 * Knows nothing about text, sampling or adapter files; it counts tokens and owns tensors.
 */

import { throwIfAborted } from "./abort.js";
import { type Acting, type BoundAdapter, countOfBase } from "./bound-adapter.js";
import { cacheNames } from "./cache.js";
import { ArtifactError, InputError } from "./errors.js";
import type { Manifest } from "./format.js";
import { Graph } from "./graph.js";
import { decoderForm } from "./graph-values.js";
import { checkNumbers } from "./numbers.js";
import type { ArtifactSource, Backend, Feeds, Fetches, KvCache, Tensor } from "./ports.js";

const LONGEST_CALL = 384; // tokens of one row per call; attention memory grows with the square of a call's length

/** The inputs of a call with one token for each row, kept and written over. */
interface StepInputs {
  readonly ids: BigInt64Array; // (rows, 1)
  readonly seqlens: Int32Array; // (rows,)
  readonly total: Int32Array; // ()
  readonly feeds: Feeds;
  readonly logitsTensor: Tensor;
  readonly rows: readonly Float32Array[]; // (vocab_size,) of its numbers, where the backend writes in place
}

/**
 * The graphs of an artifact over one KV cache, one call at a time. One graph
 * is in memory, the twin without slots until the first adapter is used when the artifact has none; with `twin` both.
 */
export class Session {
  readonly #source: ArtifactSource;
  readonly #manifest: Manifest;
  readonly #backend: Backend;
  readonly #cache: KvCache;
  readonly #isInPlace: boolean;
  #plain: Graph | null = null;
  #slotted: Graph | null = null;
  #graph: Graph | null = null;
  #acting: Acting | null = null;
  #bound: BoundAdapter | null = null; // its adapter, or what its tokens before the invocation go through
  #feeds: Feeds = {};
  readonly #fetches: Fetches;
  #step: StepInputs | null = null;
  #rows = 0;
  /** (rows,) tokens in the cache. */
  lengths: number[] = [];
  /** What the cache holds while there is one row. */
  readonly tokens: number[] = [];
  readonly #twin: boolean;

  private constructor(source: ArtifactSource, manifest: Manifest, backend: Backend, twin: boolean) {
    this.#twin = twin;
    this.#source = source;
    this.#manifest = manifest;
    this.#backend = backend;
    this.#cache = backend.makeCache(backend, manifest);
    this.#isInPlace = backend.capabilities.cache !== "returned";
    this.#fetches = Object.fromEntries([
      ["logits", null],
      ...cacheNames(manifest.model).map((item) => [item.present, null]),
    ]);
  }

  /** Load the graph that the first call is likely to need, or both. */
  static async open(source: ArtifactSource, manifest: Manifest, backend: Backend, twin: boolean): Promise<Session> {
    const { name, hasInt8Cache } = backend.capabilities;
    if (manifest.graph.kvCache === "int8" && !hasInt8Cache) {
      throw new ArtifactError(`${source.where}: ${name} has no KV cache of 8 bits; export without --kv-cache int8`);
    }
    const session = new Session(source, manifest, backend, twin);
    const hasTwin = manifest.graph.withoutSlots !== null;
    try {
      if (hasTwin && (twin || manifest.adapters.length === 0)) session.#plain = await session.#load(false);
      if (twin || session.#plain === null) session.#slotted = await session.#load(true);
    } catch (error) {
      await session.dispose();
      throw error;
    }
    return session;
  }

  /** The same artifact on another backend; this session stays as it is. */
  reopen(backend: Backend): Promise<Session> {
    return Session.open(this.#source, this.#manifest, backend, this.#twin);
  }

  /** The adapter that the cached tokens went through. */
  get adapter(): BoundAdapter | null {
    return this.#acting?.adapter ?? null;
  }

  /** What runs the graph, for people. */
  get backend(): string {
    return this.#backend.capabilities.name;
  }

  /** Tokens of one row that a call takes at most. */
  get longestCall(): number {
    return this.#backend.capabilities.longestCall ?? LONGEST_CALL;
  }

  /** Memory that a token of a row takes in the cache. */
  get bytesPerToken(): number {
    const { model, graph } = this.#manifest;
    return 2 * model.numLayers * model.numKvHeads * model.headDim * (graph.kvCache === "int8" ? 1 : 4);
  }

  /** Tokens that a row can hold at most. */
  get contextLength(): number {
    return this.#manifest.model.contextLength;
  }

  /** An adapter that will not be used again: what the cache holds of it is forgotten. */
  letGo(adapter: BoundAdapter): void {
    if (adapter === this.#acting?.adapter || adapter === this.#bound) this.#forget();
  }

  /** Start `rows` empty rows with an adapter; nothing of what the cache held can be reached afterwards. */
  async begin(rows: number, acting: Acting): Promise<void> {
    const { adapter } = acting;
    if (adapter.rows !== 1 && adapter.rows !== rows) {
      throw new InputError(`${adapter.rows} adapters for ${rows} rows; give one adapter, or one for each row`);
    }
    this.tokens.length = 0;
    this.lengths = new Array<number>(rows).fill(0);
    this.#cache.start(rows);
    if (rows !== this.#rows) this.#step = null;
    this.#rows = rows;
    this.#acting = acting;
    await this.#bind(adapter);
  }

  /** Make an adapter ready for what comes next, and keep what the base computed where that serves it. */
  async change(adapter: BoundAdapter, before: BoundAdapter | null): Promise<void> {
    if (adapter === this.adapter) return;
    const start = before === null ? 0 : this.tokens.length;
    await this.resume({ adapter, start, before }, [...this.tokens], this.tokens.length);
    await this.#bind(adapter);
  }

  /** Forget every token of the single row after the first `length`; they are overwritten by the next ones. */
  rewind(length: number): void {
    this.tokens.length = Math.min(length, this.tokens.length);
    this.lengths[0] = this.tokens.length;
  }

  /**
   * Start one row with as much of `ids` as the cache holds, at most `limit` tokens; returns it. What stands before the
   * place from which an adapter acts serves the base and every other adapter that acts from there on, or later.
   */
  async resume(acting: Acting, ids: readonly number[], limit: number): Promise<number> {
    const held = this.#rows === 1 ? this.#acting : null;
    let kept = held === null ? 0 : Math.min(sharedLength(this.tokens, ids), limit);
    if (held !== null && (held.adapter !== acting.adapter || held.start !== acting.start)) {
      kept = Math.min(kept, countOfBase(held), countOfBase(acting));
    }
    if (kept > 0) {
      this.rewind(kept);
      this.#acting = acting;
    } else await this.begin(1, acting);
    return kept;
  }

  /** Append `ids` to the single row; logits (vocab_size,) at each of `positions`, which are indices into `ids`. */
  async prefill(
    ids: readonly number[],
    positions: readonly number[],
    signal?: AbortSignal | undefined,
  ): Promise<Float32Array[]> {
    const logits = new Array<Float32Array>(positions.length);
    let start = 0;
    while (start < ids.length) {
      throwIfAborted(signal);
      const chunk = ids.slice(start, start + (await this.#bindNext(Math.min(this.longestCall, ids.length - start))));
      const here = positions.flatMap((position, index) =>
        position >= start && position < start + chunk.length ? [index] : [],
      );
      // The graph always selects something: a chunk whose logits nobody wants answers for its last token.
      const inside = here.length > 0 ? here.map((index) => (positions[index] as number) - start) : [chunk.length - 1];
      const found = await this.#run([chunk], chunk.length, [inside]);
      here.forEach((index, place) => {
        logits[index] = found[place] as Float32Array;
      });
      this.tokens.push(...chunk);
      start += chunk.length;
    }
    return logits;
  }

  /** Fill the empty rows in one call, shorter ones padded on the right (`groups.ts` bounds it); logits (vocab_size,) after each row's last id. */
  async prefillRows(rows: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const longest = Math.max(...rows.map((row) => row.length));
    return this.#run(
      rows,
      longest,
      rows.map((row) => [row.length - 1]),
    );
  }

  /**
   * Feed one token to every row, of which only the active ones keep it. Logits (vocab_size,) for each row, in memory
   * that the next call may overwrite.
   */
  async decode(ids: readonly number[], isActive: readonly boolean[]): Promise<readonly Float32Array[]> {
    const total = this.#reserve(1, isActive);
    this.#step ??= this.#makeStep();
    const { feeds, fetches } = { feeds: this.#feeds, fetches: this.#fetches };
    const step = this.#step;
    for (let row = 0; row < this.#rows; row++) {
      step.ids[row] = BigInt(ids[row] as number);
      // A row that is over may be longer than those that go on, even as long as the context: it writes over itself.
      step.seqlens[row] = Math.min(this.lengths[row] as number, total - 1);
    }
    step.total[0] = total;
    Object.assign(feeds, step.feeds);
    fetches.logits = this.#isInPlace ? step.logitsTensor : null;
    const logits = await this.#compute();
    for (let row = 0; row < this.#rows; row++) {
      if (isActive[row]) this.lengths[row] = (this.lengths[row] as number) + 1;
    }
    if (this.#rows === 1 && isActive[0]) this.tokens.push(ids[0] as number);
    const found = this.#isInPlace ? step.rows : this.#parted(logits, this.#rows);
    return this.#checked(found, (row) => isActive[row] ?? false);
  }

  /** Free the graphs and the cache. */
  async dispose(): Promise<void> {
    this.#forget();
    this.#cache.dispose();
    const graphs = [this.#plain, this.#slotted];
    this.#plain = null;
    this.#slotted = null;
    for (const graph of graphs) await graph?.release();
  }

  /** Feed rows of ids, padded to `sequence`; logits at `positions` (rows, n_positions), all rows one after another. */
  async #run(
    rows: readonly (readonly number[])[],
    sequence: number,
    positions: readonly (readonly number[])[],
  ): Promise<Float32Array[]> {
    const { Tensor } = this.#backend.ort;
    const total = this.#reserve(sequence);
    const count = positions[0]?.length ?? 0;
    const ids = new BigInt64Array(rows.length * sequence);
    rows.forEach((row, index) => {
      for (let place = 0; place < row.length; place++) ids[index * sequence + place] = BigInt(row[place] as number);
    });
    const seqlens = Int32Array.from(rows, (row, index) => (this.lengths[index] as number) + row.length - 1);
    const feeds = this.#feeds;
    feeds.input_ids = new Tensor("int64", ids, [rows.length, sequence]);
    feeds.seqlens_k = new Tensor("int32", seqlens, [rows.length]);
    feeds.total_sequence_length = new Tensor("int32", Int32Array.of(total), []);
    feeds.logits_positions = new Tensor("int64", BigInt64Array.from(positions.flat(), BigInt), [rows.length, count]);
    this.#fetches.logits = null;
    const logits = await this.#compute();
    rows.forEach((row, index) => {
      this.lengths[index] = (this.lengths[index] as number) + row.length;
    });
    return this.#checked(this.#parted(logits, rows.length * count));
  }

  /** `logits` as they are; where one is no number, nobody goes on from what the cache holds of it. */
  #checked<Rows extends readonly Float32Array[]>(logits: Rows, isWanted = (_: number) => true): Rows {
    try {
      logits.forEach((row, index) => {
        if (isWanted(index)) checkNumbers(row, this.backend);
      });
    } catch (error) {
      this.#forget();
      throw error;
    }
    return logits;
  }

  async #compute(): Promise<Tensor> {
    const graph = this.#graph as Graph;
    this.#cache.feed(this.#feeds, this.#fetches);
    const results = await graph.run(this.#feeds, this.#isInPlace ? this.#fetches : null);
    this.#cache.take(results);
    return results.logits as Tensor;
  }

  /** Make room for `count` more tokens in every active row; returns the largest number of tokens of those then. */
  #reserve(count: number, isActive?: readonly boolean[]): number {
    const used = Math.max(...this.lengths.filter((_, row) => isActive?.[row] ?? true));
    const total = used + count;
    const { contextLength, name } = this.#manifest.model;
    if (total > contextLength) {
      throw new InputError(`${total} tokens, but the context length of ${name} is ${contextLength}; shorten the text`);
    }
    this.#cache.reserve(total, used);
    return total;
  }

  #makeStep(): StepInputs {
    const { Tensor } = this.#backend.ort;
    const rows = this.#rows;
    const ids = new BigInt64Array(rows);
    const seqlens = new Int32Array(rows);
    const total = new Int32Array(1);
    const feeds = {
      input_ids: new Tensor("int64", ids, [rows, 1]),
      seqlens_k: new Tensor("int32", seqlens, [rows]),
      total_sequence_length: new Tensor("int32", total, []),
      logits_positions: new Tensor("int64", new BigInt64Array(rows), [rows, 1]),
    };
    const { vocabSize } = this.#manifest.model;
    const logits = new Float32Array(this.#isInPlace ? rows * vocabSize : 0);
    const logitsTensor = new Tensor("float32", logits, [this.#isInPlace ? rows : 0, 1, vocabSize]);
    const views = Array.from({ length: rows }, (_, row) => logits.subarray(row * vocabSize, (row + 1) * vocabSize));
    return { ids, seqlens, total, feeds, logitsTensor, rows: views };
  }

  /** Logits as one view for each of `count` distributions. */
  #parted(logits: Tensor, count: number): Float32Array[] {
    const data = logits.data as Float32Array;
    const { vocabSize } = this.#manifest.model;
    return Array.from({ length: count }, (_, index) => data.subarray(index * vocabSize, (index + 1) * vocabSize));
  }

  #forget(): void {
    this.tokens.length = 0;
    this.lengths = [];
    this.#rows = 0;
    this.#acting = null;
    this.#bound = null;
    this.#feeds = {};
    this.#step = null;
  }

  /** Bind what the next tokens of the single row go through; returns how many of `count` do. */
  async #bindNext(count: number): Promise<number> {
    const { adapter, start, before } = this.#acting as Acting;
    const most = start - (this.lengths[0] as number);
    if (before === null || most <= 0) {
      await this.#bind(adapter);
      return count;
    }
    await this.#bind(before);
    return Math.min(count, most);
  }

  async #bind(adapter: BoundAdapter): Promise<void> {
    if (adapter === this.#bound) return;
    const acting = this.#acting;
    this.#acting = null; // should loading fail, nothing half done is resumed
    this.#bound = null;
    const graph = await this.#chooseGraph(adapter);
    this.#feeds = graph === this.#plain ? {} : Object.fromEntries(adapter.inputs);
    this.#step = null;
    this.#graph = graph;
    this.#bound = adapter;
    this.#acting = acting;
  }

  /** The twin for no adapter where it is in memory; the graph with slots takes its place otherwise. */
  async #chooseGraph(adapter: BoundAdapter): Promise<Graph> {
    if (adapter.isNone && this.#plain !== null) return this.#plain;
    if (this.#slotted === null) {
      const plain = this.#plain; // let go before the other one is loaded: an app has memory for one
      this.#plain = null;
      await plain?.release();
      this.#slotted = await this.#load(true);
    }
    return this.#slotted;
  }

  #load(withSlots: boolean): Promise<Graph> {
    const form = decoderForm(this.#manifest, this.#backend, withSlots);
    return Graph.open(this.#source, this.#manifest, this.#backend, form);
  }
}

/** Length of the common beginning of two sequences. */
export function sharedLength(left: readonly number[], right: readonly number[]): number {
  const shortest = Math.min(left.length, right.length);
  let length = 0;
  while (length < shortest && left[length] === right[length]) length += 1;
  return length;
}
