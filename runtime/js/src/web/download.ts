/**
 * One file from an address into the browser's store.
 *
 * Knows nothing about artifacts.
 */

import type { FileInfo } from "../core/format.js";
import { pieceSize } from "../core/piece-check.js";
import { type Place, type RemoteFile, type TransferOptions, transfer } from "../core/transfer.js";
import { browserHashing } from "./hash.js";
import type { Store } from "./store.js";

/** Options of a transfer into the store. */
export interface DownloadOptions extends Omit<TransferOptions, "hashing"> {
  /** Compare what the store holds with its hashes once more. */
  readonly rechecks?: boolean | undefined;
}

/** Make sure that `file` is in the store, complete; throws as `transfer` does. */
export function download(file: RemoteFile, store: Store, options: DownloadOptions): Promise<void> {
  const place = placeIn(store, file.info, options.rechecks !== true);
  return transfer(file, place, { ...options, hashing: browserHashing });
}

function placeIn(store: Store, info: FileInfo, isChecked: boolean): Place {
  const size = pieceSize(info);
  let count = 0;
  return {
    isChecked,
    held: async () => {
      count = await store.held(info);
      return Math.min(count * size, info.bytes);
    },
    read: async (offset) => (await store.piece(info, offset / size)) ?? new Uint8Array(), // gone meanwhile: no piece
    append: async (piece) => {
      await store.keep(info, count, piece);
      count += 1;
    },
    cut: async (offset) => {
      count = offset / size;
      await store.cut(info, count);
    },
    commit: () => store.complete(info),
  };
}
