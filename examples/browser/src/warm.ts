/**
 * Reads and packs the adapters before anybody asks for them, so that the first switch is as quick as all others.
 *
 * Knows nothing about the page.
 */

import type { RemoteOf } from "@edgelora/runtime/web";

const MOST = 8; // adapters; those beyond are read when they are chosen

/** Milliseconds of the first switch to each; what cannot be used is left out, and says why when it is chosen. */
export async function warmAdapters(model: RemoteOf<"any">): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  if (!("generate" in model)) return found; // every call of an encoder names its adapters
  for (const name of model.adapters.slice(0, MOST)) {
    const started = performance.now();
    try {
      await model.setAdapter(name);
      found.set(name, performance.now() - started);
    } catch {}
  }
  await model.setAdapter("none");
  return found;
}
