/**
 * What can go wrong in a browser alone: the machine cannot run the model, or the connection was lost.
 *
 * Knows nothing about how a download or a session works.
 */

import { ArtifactError, EdgeLoraError } from "../core/errors.js";

/** This device or browser cannot run it: no WebGPU where it was asked for, no memory, a worker that does not start. */
export class BackendError extends EdgeLoraError {
  override name = "BackendError";
}

/** The server could not be reached, or the connection was lost. What was downloaded is kept: loading again goes on. */
export class ConnectionError extends ArtifactError {
  override name = "ConnectionError";
}

const NO_MEMORY = /bad_alloc|out of memory|oom\b|allocation failed|failed to allocate|could not allocate|cannot enlarge memory|invalid array length|array buffer allocation/i;

/** `error` as a BackendError where it says that memory ran out, as it is everywhere else. */
export function explainMemory(error: unknown, what: string): unknown {
  if (error instanceof EdgeLoraError) return error;
  // onnxruntime throws bare numbers for C++ exceptions that were compiled without messages; in wasm that is bad_alloc.
  const message = typeof error === "number" ? "out of memory" : String((error as Error | null)?.message ?? error);
  if (!NO_MEMORY.test(message)) return error;
  const reason = (message.trim().split("\n")[0] ?? "").slice(0, 120);
  return new BackendError(
    `no memory left while ${what} (${reason}); close other tabs, shorten the text or take a smaller artifact`,
  );
}
