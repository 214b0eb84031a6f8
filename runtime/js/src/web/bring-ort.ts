/**
 * Bring the large file of onnxruntime-web before it asks for it, so that those who wait are told how far it is.
 *
 * Knows nothing about what is in it: it is read, and lies in the browser's cache when onnxruntime asks.
 */

import { throwIfAborted } from "../core/abort.js";
import type { LoadWatcher } from "./artifact.js";
import type { BackendChoice } from "./choice.js";

const FILES = { wasm: "ort-wasm-simd-threaded.wasm", webgpu: "ort-wasm-simd-threaded.asyncify.wasm" };
const LASTING = ["etag", "last-modified", "cache-control"]; // without any of them it would come twice

/** Read the file of `choice` in `folder`. What cannot be had is left to onnxruntime, which says what is wrong. */
export async function bringOrt(choice: BackendChoice, folder: string, { onProgress, signal }: LoadWatcher) {
  if (onProgress === undefined) return;
  const file = FILES[choice.name];
  try {
    const response = await fetch(folder + file, { signal: signal ?? null });
    const totalBytes = Number(response.headers.get("content-length") ?? 0);
    const isKept = response.ok && totalBytes > 0 && LASTING.some((name) => response.headers.has(name));
    const reader = response.body?.getReader();
    if (!isKept) return await reader?.cancel();
    let loadedBytes = 0;
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
      loadedBytes = Math.min(totalBytes, loadedBytes + part.value.length); // more come of what is sent compressed
      onProgress({ stage: "runtime", file, loadedBytes, totalBytes });
    }
  } catch {
    throwIfAborted(signal);
  }
}
