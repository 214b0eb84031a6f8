/**
 * Makes the page work without a network from the second visit on.
 *
 * Knows nothing about weights: the runtime keeps them in a cache of its own.
 */

/** Register the service worker and have it keep what is needed to run on `backend`; resolves when it is kept. */
export async function keepForOffline(backend: "wasm" | "webgpu"): Promise<void> {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return;
  await navigator.storage?.persist?.(); // asks the browser not to drop the caches when the disk fills
  await navigator.serviceWorker.register("sw.js");
  const { active } = await navigator.serviceWorker.ready;
  const name = backend === "wasm" ? "ort-wasm-simd-threaded" : "ort-wasm-simd-threaded.asyncify";
  const keep = [`ort.${backend}.min.mjs`, `${name}.mjs`, `${name}.wasm`].map((file) => `ort/${file}`);
  const { port1, port2 } = new MessageChannel();
  const kept = new Promise((resolve) => (port1.onmessage = resolve));
  active?.postMessage({ keep }, [port2]);
  await kept;
}
