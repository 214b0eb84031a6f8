/**
 * Whether a file is the one of a manifest, read a piece at a time.
 *
 * Knows nothing about where it lies.
 */

import type { FileInfo } from "./format.js";
import { type Hashing, makeCheck } from "./piece-check.js";

/** Whether the bytes of a file of the right size are those that the manifest says; never more than a piece in memory. */
export async function isRight(
  info: FileInfo,
  hashing: Hashing,
  read: (offset: number, length: number) => Promise<Uint8Array>,
): Promise<boolean> {
  const check = await makeCheck(info, hashing);
  for (let offset = 0, index = 0; offset < info.bytes; offset += check.size, index++) {
    if (!(await check.accepts(index, await read(offset, Math.min(check.size, info.bytes - offset))))) return false;
  }
  return check.findWrong() === null;
}
