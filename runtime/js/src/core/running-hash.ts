/**
 * SHA-256 in JavaScript, of bytes that come one after the other, where a place has no such hash of its own.
 *
 * Knows nothing about files.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { RunningHash } from "./piece-check.js";

export function runningHash(): RunningHash {
  const hash = sha256.create();
  return { update: (bytes) => hash.update(bytes), finish: () => bytesToHex(hash.digest()) };
}
