/**
 * Calls to one worker and their answers, as the page sees them.
 *
 * Knows nothing about what is called.
 */

import { BackendError, InputError } from "../core/errors.js";
import type { WebOptions } from "./load.js";
import { type Call, type FromWorker, type ModelState, receiveError, type ToWorker } from "./protocol.js";

/** Who waits for the answers to one call. */
interface Waiting {
  readonly onProgress: (progress: unknown) => void;
  readonly onPiece: (text: string) => void;
  readonly onResult: (value: unknown) => void;
  readonly onError: (error: unknown) => void;
}

/** Calls to one worker and their answers. */
export class Line {
  state: ModelState = { adapters: [], adapter: "none" };
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #broken: Error | null = null;

  constructor(worker: Worker, onWarning: WebOptions["onWarning"]) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === "warning") return onWarning?.(data.message);
      const waiting = this.#waiting.get(data.id);
      if (data.kind === "progress") return waiting?.onProgress(data.progress);
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
  ask(call: Call, signal?: AbortSignal | undefined, onProgress = (_: unknown) => {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#send(call, signal, { onProgress, onPiece: () => {}, onResult: resolve, onError: reject });
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
    const stop = this.#send(call, signal, {
      onProgress: () => {},
      onPiece,
      onResult: () => finish(),
      onError: finish,
    });
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
  #send(call: Call, signal: AbortSignal | undefined, waiting: Waiting): () => void {
    const { onResult, onError } = waiting;
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
      ...waiting,
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
