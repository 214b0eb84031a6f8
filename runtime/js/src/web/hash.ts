/**
 * SHA-256 in a browser: its own where it has one, else JavaScript's, which is loaded when it is needed.
 *
 * Knows nothing about files.
 */

import { type Bytes, toHex } from "../core/bytes.js";
import { hashingBy } from "../core/hashing.js";
import type { Hashing } from "../core/piece-check.js";

const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined; // pages without a secure context have none

export const browserHashing: Hashing = hashingBy(
  subtle && (async (bytes) => toHex(await subtle.digest("SHA-256", bytes as Bytes))),
);

/** The hash as lower-case hexadecimal digits. */
export const { digest } = browserHashing;
