/**
 * A file on a device as the place of a transfer, and whether it is the file of a manifest.
 *
 * Knows nothing about servers.
 */

import type { FileSystem, WritableFileSystem } from "./file-system.js";
import type { FileInfo } from "./format.js";
import { hashingBy } from "./hashing.js";
import { isRight } from "./is-right.js";
import type { Hashing } from "./piece-check.js";
import type { Place } from "./transfer.js";

const LARGEST_DIGEST = 64 << 20; // bytes that are hashed at once where nothing lists their pieces

/** What `besides` names, whatever it is beside. */
export const LEFT_OVER = /\.[0-9a-f]{12}\.(part|new)$/;

/**
 * Where a file lies until the artifact is whole: in `part` while it comes, in `done` when it was checked. Named by what it
 * will be, so that the beginning of another upload is never taken for one of this.
 */
export function besides(path: string, { sha256 }: FileInfo): { readonly part: string; readonly done: string } {
  const mark = `${path}.${sha256.slice(0, 12)}`;
  return { part: `${mark}.part`, done: `${mark}.new` };
}

/** Hashes by the device's native code where it has some. */
export function hashingOf(files: FileSystem): Hashing {
  return hashingBy(files.digest?.bind(files));
}

/** What a file comes to be in: `part` until it is whole, `done` when it was checked. */
export function placeAt(files: WritableFileSystem, part: string, done: string): Place {
  return {
    isChecked: false, // a device that lost its power may have kept the length and not the bytes
    held: async () => ((await files.exists(part)) ? files.size(part) : 0),
    read: (offset, length) => files.readBytes(part, offset, length),
    append: (piece) => files.append(part, piece),
    cut: (offset) => (offset === 0 ? files.remove(part) : files.truncate(part, offset)),
    commit: async () => {
      if (!(await files.exists(part))) await files.append(part, new Uint8Array()); // a file of no bytes
      await files.rename(part, done);
    },
  };
}

/** Whether the bytes of a file of the right size are those that the manifest says. */
export function isFileRight(files: FileSystem, path: string, info: FileInfo): Promise<boolean> {
  return isRight(info, hashingOf(files), (offset, length) => files.readBytes(path, offset, length));
}

/** SHA-256 of a file of which no manifest tells the pieces, hex. */
export async function hashFile(files: FileSystem, path: string): Promise<string> {
  const size = await files.size(path);
  const hashing = hashingOf(files);
  if (size <= LARGEST_DIGEST && files.digest !== undefined) {
    return hashing.digest(await files.readBytes(path, 0, size));
  }
  const hash = await hashing.begin();
  const step = 1 << 20;
  for (let offset = 0; offset < size; offset += step) {
    hash.update(await files.readBytes(path, offset, Math.min(step, size - offset)));
  }
  return hash.finish();
}
