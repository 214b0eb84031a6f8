/**
 * Memory that runs out in a browser, which shows in many ways.
 *
 * Knows nothing about how a download or a session works.
 */

import { BackendError, EdgeLoraError } from "../core/errors.js";

const NO_MEMORY = /bad_alloc|out of memory|allocation failed|failed to allocate|could not allocate|enlarge memory/i;

/** `error` as a BackendError where it says that memory ran out, as it is everywhere else. */
export function explainMemory(error: unknown, what: string): unknown {
  if (error instanceof EdgeLoraError) return error;
  const { name, message = String(error) } = (error ?? {}) as Partial<Error>;
  // When wasm gets no more memory, onnxruntime throws a bare number (std::bad_alloc), writes past the end of its memory
  // from JavaScript (RangeError), or runs into the address 0 (RuntimeError).
  const isMemory = typeof error === "number" || name === "RangeError" || name === "RuntimeError";
  if (/call stack/i.test(message)) return error; // too deep a recursion is a RangeError as well
  if (!isMemory && !NO_MEMORY.test(message)) return error;
  const reason = (message.trim().split("\n")[0] ?? "").slice(0, 120);
  return new BackendError(
    `no memory left while ${what} (${reason}); close other tabs and reload, shorten the text or take a smaller artifact`,
    "no-memory",
  );
}
