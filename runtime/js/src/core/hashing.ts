/**
 * SHA-256 by the native code of a place, or by JavaScript's.
 *
 * Knows nothing about what is hashed.
 */

import type { Hashing } from "./piece-check.js";

/** Hashes by `digest`, which is of native code, where a place has one; else by code that is loaded when it is needed. */
export function hashingBy(digest: Hashing["digest"] | undefined): Hashing {
  const begin = async () => (await import("./running-hash.js")).runningHash();
  const ofAll = async (bytes: Uint8Array) => {
    const hash = await begin();
    hash.update(bytes);
    return hash.finish();
  };
  return { digest: digest ?? ofAll, begin };
}
