/**
 * Calls one after another, each of which can be ended, and all of them at once.
 *
 * Knows nothing about what is called.
 */

import { abortWith, reasonOf, throwIfAborted } from "./abort.js";
import { InputError } from "./errors.js";
import { show } from "./parse-json.js";

export class CallQueue {
  #last: Promise<unknown> = Promise.resolve();
  readonly #ends = new Set<(reason: unknown) => void>();
  #closed: { readonly reason: unknown } | null = null;

  /**
   * Run `call` when those before it have ended, well or not. The promise rejects as soon as `given` is aborted or the
   * queue is closed, also while the call waits for its turn; the call itself is told by the signal that it gets.
   */
  run<Result>(call: (signal: AbortSignal) => Promise<Result>, given?: AbortSignal | undefined): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (this.#closed !== null) return reject(this.#closed.reason);
      if (given !== undefined && given !== null && typeof given.addEventListener !== "function") {
        return reject(
          new InputError(`signal is ${show(given)}, expected an AbortSignal: the signal of an AbortController`),
        );
      }
      if (given?.aborted) return reject(reasonOf(given));
      const ending = new AbortController();
      const end = (reason: unknown) => {
        abortWith(ending, reason);
        reject(reason);
      };
      const abort = () => end(reasonOf(given as AbortSignal));
      given?.addEventListener("abort", abort);
      this.#ends.add(end);
      const begin = async () => {
        throwIfAborted(ending.signal);
        return call(ending.signal);
      };
      this.#last = this.#last
        .then(begin)
        .then(resolve, reject)
        .then(() => {
          given?.removeEventListener("abort", abort);
          this.#ends.delete(end);
        });
    });
  }

  /** End every call with `reason`, which is also what later ones get; resolves when none is under way. */
  async close(reason: unknown): Promise<void> {
    this.#closed ??= { reason };
    for (const end of [...this.#ends]) end(reason);
    await this.#last;
  }
}
