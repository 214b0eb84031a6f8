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

/** A signal that is aborted when either of these is, for the same reason. */
export function either(...signals: readonly AbortSignal[]): AbortSignal {
  const both = new AbortController();
  for (const signal of signals) {
    const abort = () => both.abort(reasonOf(signal));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  }
  return both.signal;
}
