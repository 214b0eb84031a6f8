/**
 * The page's side of a model in a worker: the same methods, sent as messages.
 *
 * Knows nothing about onnxruntime or downloads.
 */

import { BackendError, InputError } from "../core/errors.js";
import type { FolderSource } from "../core/files.js";
import type { Manifest } from "../core/format.js";
import type { Generation, Model } from "../core/model.js";
import type { ProbeResult } from "../core/probe.js";
import { readTokenizer, type Tokenizer } from "../core/text.js";
import type { LoadAdapterOptions } from "../core/token-model.js";
import type { BackendChoice } from "./choice.js";
import { copyAdapter } from "./folders.js";
import { absolute, type WebOptions } from "./load.js";
import {
  type Call,
  type FromWorker,
  type Loaded,
  type ModelApi,
  type ModelState,
  receiveError,
  type ToWorker,
} from "./protocol.js";
import { WebSource } from "./source.js";
import { openStore } from "./store.js";

/** Who waits for the answers to one call. */
interface Waiting {
  readonly onPiece: (text: string) => void;
  readonly onResult: (value: unknown) => void;
  readonly onError: (error: unknown) => void;
}

type Options = Readonly<Record<string, unknown>> & { readonly signal?: AbortSignal; readonly stream?: boolean };

/** A model in a worker, as `loadInWorker` makes it. */
export interface RemoteModel extends ModelApi {
  readonly choice: BackendChoice;
  /** Memory that wasm has taken: weights, cache and what a run needs; with WebGPU most of that lies on the GPU instead. */
  wasmBytes(): Promise<number>;
}

/** Start `worker` and open an artifact in it. Rejects as `load` does; the worker is then ended. */
export async function openRemote(worker: Worker, address: string, options: WebOptions): Promise<RemoteModel> {
  const { signal, onProgress, onWarning, ...sent } = options;
  const line = new Line(worker, options);
  const where = absolute(address, document.baseURI);
  const wasmPaths = sent.wasmPaths === undefined ? undefined : new URL(sent.wasmPaths, document.baseURI).href;
  try {
    const loaded = (await line.ask(
      { kind: "load", address: where, options: { ...sent, wasmPaths } },
      signal,
    )) as Loaded;
    return new Remote(line, where, loaded);
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

/** Calls to one worker and their answers. */
class Line {
  state: ModelState = { adapters: [], adapter: "none" };
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #broken: Error | null = null;

  constructor(worker: Worker, { onProgress, onWarning }: WebOptions) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === "progress") return onProgress?.(data.progress);
      if (data.kind === "warning") return onWarning?.(data.message);
      const waiting = this.#waiting.get(data.id);
      if (data.kind === "piece") return waiting?.onPiece(data.text);
      if (data.kind === "error") return waiting?.onError(receiveError(data.error));
      this.state = data.state;
      waiting?.onResult(data.value);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      const reason = event.message || "its file cannot be loaded";
      this.#end(new BackendError(`the worker stopped (${reason}); reload the page`));
    };
    worker.onmessageerror = () => {
      this.#end(new BackendError("the worker sent what this page cannot read; reload the page"));
    };
  }

  /** Send a call; its value, or its error. An aborted call rejects at once, and ends in the worker as soon as it can. */
  ask(call: Call, signal?: AbortSignal | undefined): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#send(call, signal, { onPiece: () => {}, onResult: resolve, onError: reject });
    });
  }

  /** Send a call that streams; leaving the loop ends it. */
  async *pieces(call: Call, signal?: AbortSignal | undefined): AsyncGenerator<string> {
    const come: string[] = [];
    const end = { isThere: false, error: undefined as unknown };
    let wake = () => {};
    const finish = (error?: unknown) => {
      if (signal?.aborted) come.length = 0; // an aborted call has no answer, whatever came of it already
      Object.assign(end, { isThere: true, error });
      wake();
    };
    const onPiece = (text: string) => {
      come.push(text);
      wake();
    };
    const stop = this.#send(call, signal, { onPiece, onResult: () => finish(), onError: finish });
    try {
      while (come.length > 0 || !end.isThere) {
        if (come.length > 0) yield come.shift() as string;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
      if (end.error !== undefined) throw end.error;
    } finally {
      if (!end.isThere) stop();
    }
  }

  /** End the worker; what waits for it is refused, as is what comes. */
  end(): void {
    this.#end(new InputError("this model was disposed of; load the artifact again"));
    this.#worker.terminate();
  }

  #end(reason: Error): void {
    this.#broken ??= reason;
    for (const waiting of [...this.#waiting.values()]) waiting.onError(this.#broken);
  }

  /** Returns how to end the call without waiting for it. */
  #send(call: Call, signal: AbortSignal | undefined, { onPiece, onResult, onError }: Waiting): () => void {
    const id = ++this.#lastId;
    const done = () => {
      signal?.removeEventListener("abort", abort);
      this.#waiting.delete(id);
    };
    const stop = () => {
      done();
      this.#worker.postMessage({ kind: "abort", id } satisfies ToWorker);
    };
    const abort = () => {
      stop();
      onError(signal?.reason);
    };
    const refusal = this.#broken ?? (signal?.aborted ? signal.reason : null);
    if (refusal !== null) {
      onError(refusal);
      return () => {};
    }
    signal?.addEventListener("abort", abort);
    this.#waiting.set(id, {
      onPiece,
      onResult: (value) => {
        done();
        onResult(value);
      },
      onError: (error) => {
        done();
        onError(error);
      },
    });
    try {
      this.#worker.postMessage({ ...call, id } satisfies ToWorker);
    } catch (error) {
      done(); // what cannot be cloned never reaches the worker
      onError(error);
      return () => {};
    }
    return stop;
  }
}

class Remote implements RemoteModel {
  readonly manifest: Manifest;
  readonly backend: string;
  readonly choice: BackendChoice;
  readonly #line: Line;
  readonly #where: string;
  #tokenizer: Promise<Tokenizer | null> | null = null;
  #ending: Promise<void> | null = null;

  constructor(line: Line, where: string, { manifest, backend, choice }: Loaded) {
    this.manifest = manifest;
    this.backend = backend;
    this.choice = choice;
    this.#line = line;
    this.#where = where;
  }

  get adapters(): readonly string[] {
    return this.#line.state.adapters;
  }

  get adapter(): string {
    return this.#line.state.adapter;
  }

  /** A second one in the page, from the same cache: its methods answer without waiting, which a worker's cannot. */
  get tokenizer(): Promise<Tokenizer | null> {
    if (this.#tokenizer === null) {
      const reading = this.#readTokenizer();
      this.#tokenizer = reading;
      reading.catch(() => {
        this.#tokenizer = null; // what failed once may succeed the next time
      });
    }
    return this.#tokenizer;
  }

  async setAdapter(spec: string): Promise<void> {
    await this.#line.ask({ kind: "setAdapter", spec });
  }

  async loadAdapter(name: string, folder: string | FolderSource, options: LoadAdapterOptions = {}): Promise<void> {
    const copy = typeof folder === "string" ? absolute(folder, document.baseURI) : await copyAdapter(folder);
    await this.#line.ask({ kind: "loadAdapter", name, folder: copy, options });
  }

  async unloadAdapter(name: string): Promise<void> {
    await this.#line.ask({ kind: "unloadAdapter", name });
  }

  probe(name: string): Promise<ProbeResult | null> {
    return this.#line.ask({ kind: "probe", name }) as Promise<ProbeResult | null>;
  }

  generate: Model["generate"] = ((prompt: string | readonly string[], given: Options = {}) => {
    const { signal, stream = false, ...options } = given;
    const call: Call = { kind: "generate", prompt, options, stream };
    return stream ? this.#line.pieces(call, signal) : (this.#line.ask(call, signal) as Promise<Generation>);
  }) as Model["generate"];

  chat: Model["chat"] = ((messages: Parameters<Model["chat"]>[0], given: Options = {}) => {
    const { signal, stream = false, ...options } = given;
    const call: Call = { kind: "chat", messages, options, stream };
    return stream ? this.#line.pieces(call, signal) : (this.#line.ask(call, signal) as Promise<Generation>);
  }) as Model["chat"];

  generateIds: Model["generateIds"] = ((ids: readonly number[], given: Options = {}) => {
    const { signal, stream: _, ...options } = given;
    return this.#line.ask({ kind: "generateIds", ids, options }, signal);
  }) as Model["generateIds"];

  logits(ids: readonly number[], options: Parameters<Model["logits"]>[1] = {}): Promise<Float32Array[]> {
    return this.#line.ask({ kind: "logits", ids, options }) as Promise<Float32Array[]>;
  }

  score(
    promptIds: readonly number[],
    completionIds: readonly number[],
    options: Parameters<Model["score"]>[2] = {},
  ): Promise<Float64Array> {
    return this.#line.ask({ kind: "score", promptIds, completionIds, options }) as Promise<Float64Array>;
  }

  wasmBytes(): Promise<number> {
    return this.#line.ask({ kind: "wasmBytes" }) as Promise<number>;
  }

  dispose(): Promise<void> {
    // The worker's memory goes with it, whatever it says.
    this.#ending ??= this.#line
      .ask({ kind: "dispose" })
      .catch(() => {})
      .then(() => this.#line.end());
    return this.#ending;
  }

  async #readTokenizer(): Promise<Tokenizer | null> {
    const { tokenizer, files } = this.manifest;
    if (tokenizer === null) return null;
    const source = new WebSource(this.#where, await openStore(), {});
    const names = [tokenizer.file, tokenizer.chatTemplate];
    await source.fill(new Map([...files].filter(([name]) => names.includes(name))), false);
    return readTokenizer(source, tokenizer);
  }
}
