/**
 * Calls to one worker and their answers, as the page sees them.
 *
 * Knows nothing about what is called.
 */

import { reasonOf } from "../core/abort.js";
import { Answer } from "../core/answer.js";
import { BackendError, InputError } from "../core/errors.js";
import type { RowPiece } from "../core/generation.js";
import type { WebOptions } from "./load.js";
import { type Call, type FromWorker, type ModelState, receiveError, type ToWorker } from "./protocol.js";
import { makeThreads } from "./threads.js";

/** Who waits for the answers to one call. */
interface Waiting {
  readonly onProgress: (progress: unknown) => void;
  readonly onPiece: (piece: string | RowPiece) => void;
  readonly onResult: (value: unknown) => void;
  readonly onError: (error: unknown) => void;
}

/** Calls to one worker and their answers. */
export class Line {
  state: ModelState | null = null;
  readonly #worker: Worker;
  readonly #endThreads: () => void;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #broken: Error | null = null;

  constructor(worker: Worker, onWarning: WebOptions["onWarning"]) {
    this.#worker = worker;
    this.#endThreads = makeThreads(worker);
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === "warning") return onWarning?.(data.message);
      if (data.kind === "unread") {
        return this.#end(new BackendError("the worker cannot read what this page sent; reload the page", "no-worker"));
      }
      const waiting = this.#waiting.get(data.id);
      if (data.kind === "progress") return waiting?.onProgress(data.progress);
      if (data.kind === "piece") return waiting?.onPiece(data.piece);
      if (data.kind === "error") return waiting?.onError(receiveError(data.error));
      this.state = data.state ?? this.state;
      waiting?.onResult(data.value);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      const reason =
        event.message || "it cannot be started; a policy without blob: in worker-src wants the option worker";
      this.#end(new BackendError(`the worker stopped (${reason}); reload the page`, "no-worker"));
    };
    worker.onmessageerror = () => {
      this.#end(new BackendError("the worker sent what this page cannot read; reload the page", "no-worker"));
    };
  }

  /** Send a call; its value, or its error. An aborted call rejects at once, and ends in the worker as soon as it can. */
  ask(call: Call, signal?: AbortSignal | undefined, onProgress = (_: unknown) => {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#send(call, signal, { onProgress, onPiece: () => {}, onResult: resolve, onError: reject });
    });
  }

  /** Send a call that is answered in pieces. */
  answer<Piece extends string | RowPiece, Whole>(call: Call, signal: AbortSignal | undefined): Answer<Piece, Whole> {
    return new Answer<Piece, Whole>(({ push, stopped }) => {
      return new Promise((resolve, reject) => {
        const onPiece = push as (piece: string | RowPiece) => void;
        const onResult = resolve as (value: unknown) => void;
        const id = this.#send(call, signal, { onProgress: () => {}, onPiece, onResult, onError: reject });
        stopped.addEventListener("abort", () => {
          if (this.#waiting.has(id)) this.#worker.postMessage({ kind: "stop", id } satisfies ToWorker);
        });
      });
    }, signal);
  }

  /** End the worker and its threads; what waits for it is refused, as is what comes. */
  end(): void {
    this.#end(new InputError("this model was disposed of; load the artifact again"));
    this.#worker.terminate();
    this.#endThreads();
  }

  #end(reason: Error): void {
    this.#broken ??= reason;
    for (const waiting of [...this.#waiting.values()]) waiting.onError(this.#broken);
  }

  /** Returns the number of the call, which waits under it unless it has ended already. */
  #send(call: Call, signal: AbortSignal | undefined, waiting: Waiting): number {
    const { onResult, onError } = waiting;
    const id = ++this.#lastId;
    const done = () => {
      signal?.removeEventListener("abort", abort);
      this.#waiting.delete(id);
    };
    const abort = () => {
      done();
      this.#worker.postMessage({ kind: "abort", id } satisfies ToWorker);
      onError(reasonOf(signal as AbortSignal));
    };
    const refusal = this.#broken ?? (signal?.aborted ? reasonOf(signal) : null);
    if (refusal !== null) {
      onError(refusal);
      return id;
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
    }
    return id;
  }
}
