/**
 * SHA-256 in a browser: its own where it has one, else JavaScript's, which is loaded when it is needed.
 *
 * Knows nothing about files.
 */

import type { Bytes } from "../core/bytes.js";
import type { Hashing } from "../core/piece-check.js";

/** The hash as lower-case hexadecimal digits. */
export async function digest(bytes: Uint8Array): Promise<string> {
  // Pages without a secure context have no `subtle`.
  if (globalThis.crypto?.subtle === undefined) {
    const hash = await browserHashing.begin();
    hash.update(bytes);
    return hash.finish();
  }
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Bytes));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const browserHashing: Hashing = {
  digest,
  begin: async () => {
    const { runningHash } = await import("../core/running-hash.js");
    return runningHash();
  },
};
