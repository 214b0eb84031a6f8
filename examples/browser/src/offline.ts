/**
 * Makes the page work without a network from the second visit on, and gives it threads where its server does not.
 *
 * Knows nothing about weights: the runtime keeps them in a cache of its own.
 */

import { find } from "./elements.ts";

const TRIED = "edgelora-isolated"; // in this tab the page was loaded anew for it
const LONGEST_MS = 10_000;

/**
 * Where the server does not send the headers that threads need, the page's service worker does: load the page anew
 * through it, once. Returns where that is not needed, or does not help.
 */
export async function isolate(): Promise<void> {
  if (crossOriginIsolated) sessionStorage.removeItem(TRIED);
  if (crossOriginIsolated || !canServe() || sessionStorage.getItem(TRIED) !== null) return;
  const ready = navigator.serviceWorker.register("sw.js").then(() => navigator.serviceWorker.ready);
  const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), LONGEST_MS));
  if ((await Promise.race([ready, late]).catch(() => null)) === null) return; // one thread then
  sessionStorage.setItem(TRIED, "yes");
  location.reload();
  await new Promise(() => {}); // nothing begins that the reload would end
}

/** Have the service worker keep what is needed to run on `backend`; true when it is kept, false where none can. */
export async function keepForOffline(backend: "wasm" | "webgpu"): Promise<boolean> {
  if (!canServe()) return false;
  void askToKeep();
  await navigator.serviceWorker.register("sw.js");
  const { active } = await navigator.serviceWorker.ready;
  const name = backend === "wasm" ? "ort-wasm-simd-threaded" : "ort-wasm-simd-threaded.asyncify";
  const keep = [`ort.${backend}.min.mjs`, `${name}.mjs`, `${name}.wasm`].map((file) => `ort/${file}`);
  const { port1, port2 } = new MessageChannel();
  const kept = new Promise<boolean>((resolve) => (port1.onmessage = ({ data }) => resolve(data === "kept")));
  active?.postMessage({ keep }, [port2]);
  return kept;
}

/** Ask the browser not to drop the caches when the disk fills, and say what it says: Firefox may never answer. */
async function askToKeep(): Promise<void> {
  const isKept = await navigator.storage?.persist?.();
  if (isKept === undefined) return;
  find("offline", HTMLElement).title = isKept
    ? "The browser keeps it until you delete it"
    : "The browser may drop it when the disk is full";
}

function canServe(): boolean {
  return "serviceWorker" in navigator && !import.meta.env.DEV;
}

/** Say that no network is needed any more, where that is so, and whether there is one. */
export function showNetwork(isKept: boolean): void {
  if (!isKept) return;
  const badge = find("offline", HTMLElement);
  const say = () => {
    badge.textContent = navigator.onLine ? "Works without a network now" : "No network: everything still works";
  };
  say();
  badge.hidden = false;
  for (const event of ["online", "offline"]) window.addEventListener(event, say);
  document.documentElement.dataset.offline = "ready";
}
