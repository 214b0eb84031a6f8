/**
 * The files of an artifact one after the other, those that are damaged named together.
 *
 * Knows nothing about where they go.
 */

import { ArtifactError, ConnectionError } from "./errors.js";
import type { FileInfo } from "./format.js";
import { bytesOf } from "./needed-files.js";
import { PIECE_BYTES } from "./piece-check.js";

/** Bytes of all files that are needed; those that were there before count as loaded. */
export interface DownloadProgress {
  readonly file: string;
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/**
 * Call `bring` for each of `files`, the small ones first. Throws one ArtifactError for all that it refuses with one; after
 * the first no large file is asked for.
 */
export async function bringEach(
  where: string,
  files: ReadonlyMap<string, FileInfo>,
  bring: (name: string, info: FileInfo, onBytes: (loaded: number) => void) => Promise<void>,
  onProgress: ((progress: DownloadProgress) => void) | undefined,
): Promise<void> {
  const totalBytes = bytesOf(files);
  const wrong: string[] = [];
  let before = 0;
  for (const [file, info] of files) {
    if (wrong.length > 0 && info.bytes > PIECE_BYTES) break;
    const report = (loaded: number) => onProgress?.({ file, loadedBytes: before + loaded, totalBytes });
    try {
      await bring(file, info, report);
    } catch (error) {
      if (!(error instanceof ArtifactError) || error instanceof ConnectionError) throw error;
      wrong.push(error.message);
    }
    report(info.bytes);
    before += info.bytes;
  }
  if (wrong.length > 0) throw new ArtifactError(`${where} is damaged: ${wrong.join("; ")}`);
}
