/**
 * Which store a browser has.
 *
 * Knows nothing about what is kept there.
 */

import type { CrossOriginStorage } from "./shared-store.js";
import { CacheStore } from "./store.js";

const CACHE_NAME = "edgelora-1";

// A private window of WebKit forgets what lies in a cache that nobody holds, so whoever opened it goes on holding it.
const held: { cache?: Cache } = {};

/** The browser's store, null where it has none (no secure context, or storage switched off). */
export async function openStore(): Promise<CacheStore | null> {
  if (typeof caches === "undefined") return null;
  try {
    const cache = await caches.open(CACHE_NAME);
    held.cache = cache;
    const { crossOriginStorage } = navigator as { crossOriginStorage?: CrossOriginStorage };
    if (crossOriginStorage === undefined) return new CacheStore(cache);
    const { SharedStore } = await import("./later.js"); // few browsers have one
    return new SharedStore(cache, crossOriginStorage);
  } catch {
    return null;
  }
}
