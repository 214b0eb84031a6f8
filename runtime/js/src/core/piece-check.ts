/**
 * Whether bytes are those of a file: by the hashes of its pieces where the manifest lists them, else by that of the whole.
 *
 * Knows nothing about where the bytes come from.
 */

import type { FileInfo } from "./format.js";

/** Bytes that are checked and kept at once, where the manifest lists no pieces. */
export const PIECE_BYTES = 4 << 20;

/** SHA-256 as a place computes it, hex. */
export interface Hashing {
  /** Of bytes in memory. */
  digest(bytes: Uint8Array): Promise<string>;
  /** Of bytes that come one after the other. */
  begin(): Promise<RunningHash>;
}

export interface RunningHash {
  update(bytes: Uint8Array): unknown;
  finish(): string;
}

/** Follows the pieces of one file in their order. */
export interface Check {
  /** Bytes of a piece; the last may be shorter. */
  readonly size: number;
  /** Whether each piece is judged by itself. Else nothing is known before the last. */
  readonly knowsPieces: boolean;
  accepts(index: number, piece: Uint8Array): Promise<boolean>;
  /** After the last piece: the hash where it is another one than the file's, null where all is right. */
  findWrong(): string | null;
}

/** Bytes of the pieces in which a file is checked and kept. */
export function pieceSize(info: FileInfo): number {
  return info.pieces?.size ?? PIECE_BYTES;
}

/** Number of pieces of a file. */
export function pieceCount(info: FileInfo): number {
  return Math.ceil(info.bytes / pieceSize(info));
}

/** Length of piece `index`; 0 after the last. */
export function pieceBytes(info: FileInfo, index: number): number {
  const size = pieceSize(info);
  return Math.max(0, Math.min(size, info.bytes - index * size));
}

/** A check from the first piece on. */
export async function makeCheck(info: FileInfo, hashing: Hashing): Promise<Check> {
  const size = pieceSize(info);
  // The hash of a small file is that of its only piece.
  const listed = info.pieces?.sha256 ?? (info.bytes > 0 && info.bytes <= size ? [info.sha256] : null);
  if (listed !== null) {
    const accepts = async (index: number, piece: Uint8Array) => (await hashing.digest(piece)) === listed[index];
    return { size, knowsPieces: true, accepts, findWrong: () => null };
  }
  const hash = await hashing.begin();
  return {
    size,
    knowsPieces: false,
    accepts: async (_, piece) => {
      hash.update(piece);
      return true;
    },
    findWrong: () => {
      const found = hash.finish();
      return found === info.sha256 ? null : found;
    },
  };
}
