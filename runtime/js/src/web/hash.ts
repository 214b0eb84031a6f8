/**
 * SHA-256 of bytes in memory; `download.ts` hashes what comes piece by piece.
 *
 * Knows nothing about files.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

export { bytesToHex, sha256 };

/** The hash as lower-case hexadecimal digits. */
export async function digest(bytes: Uint8Array): Promise<string> {
  return bytesToHex(sha256(bytes));
}
