/**
 * Makes the page work without a network from the second visit on.
 *
 * Knows nothing about weights: the runtime keeps them in a cache of its own.
 */

/** Register the service worker and have it keep what is needed to run on `backend`. */
export async function keepForOffline(backend: "wasm" | "webgpu"): Promise<void> {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return;
  await navigator.storage?.persist?.(); // asks the browser not to drop the caches when the disk fills
  await navigator.serviceWorker.register("sw.js");
  const { active } = await navigator.serviceWorker.ready;
  const name = backend === "wasm" ? "ort-wasm-simd-threaded" : "ort-wasm-simd-threaded.asyncify";
  active?.postMessage({ keep: [`ort/${name}.mjs`, `ort/${name}.wasm`] });
}
