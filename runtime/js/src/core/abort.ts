/**
 * End a call at an AbortSignal, also where the engine is older than `signal.throwIfAborted` and DOMException.
 *
 * Knows nothing about what is being ended.
 */

/** Throw the signal's reason when it was aborted; an AbortError where it has none. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}

/** Why a signal was aborted. */
export function reasonOf(signal: AbortSignal): unknown {
  return signal.reason ?? Object.assign(new Error("the call was aborted"), { name: "AbortError" });
}

/** Abort with a reason, also where signals are React Native's, which have none. */
export function abortWith(ending: AbortController, reason: unknown): void {
  if (!("reason" in ending.signal)) Object.defineProperty(ending.signal, "reason", { value: reason });
  ending.abort(reason);
}

/** A signal that is aborted when either of these is, for the same reason. */
export function either(...signals: readonly AbortSignal[]): AbortSignal {
  const both = new AbortController();
  for (const signal of signals) {
    const abort = () => abortWith(both, reasonOf(signal));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  }
  return both.signal;
}

/**
 * What `promise` gives; rejects at once where `signal` is aborted, which whoever made the promise hears of as well. What
 * comes of it all the same goes to `letGo`.
 */
export function untilAborted<Result>(
  promise: Promise<Result>,
  signal: AbortSignal | undefined,
  letGo: (result: Result) => unknown,
): Promise<Result> {
  if (signal === undefined) return promise;
  return new Promise<Result>((resolve, reject) => {
    const abort = () => reject(reasonOf(signal));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    const end = (result: Result) => (signal.aborted ? letGo(result) : resolve(result));
    promise.then(end, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
