/**
 * One file from an address into a store: in pieces, going on where it stopped, checked by its hash.
 *
 * Knows nothing about artifacts: a name for messages, an address, a size and a hash.
 */

import type { Bytes } from "../core/bytes.js";
import { ArtifactError, ConnectionError } from "../core/errors.js";
import type { FileInfo } from "../core/format.js";
import { bytesToHex, sha256 } from "./hash.js";
import { PIECE_BYTES, pieceBytes, pieceCount, type Store } from "./store.js";

const PAUSES_MS = [250, 1000, 3000]; // before each try after one that brought nothing; then the connection is lost
const STALLED_MS = 30_000; // without a byte

/** A file of a server. */
export interface RemoteFile {
  readonly name: string;
  readonly address: string;
  readonly info: FileInfo;
}

/** Who wants to know how far it is, and when to stop. */
export interface Watcher {
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of bytes of the file that are there by now. */
  readonly onBytes: (loaded: number) => void;
}

/**
 * Make sure that `file` is in the store, complete. Throws ConnectionError where what came is kept and loading again
 * goes on, ArtifactError where the server has another file, after which nothing of it is left in the store.
 */
export async function download(file: RemoteFile, store: Store, watcher: Watcher): Promise<void> {
  // The pieces from before may be of another upload; then once without them, which throws where it is no better.
  if (!(await fetchRest(file, store, watcher, true))) await fetchRest(file, store, watcher, false);
}

/** Whether the file is there now; false where the pieces that were there before made it a wrong one. */
async function fetchRest(file: RemoteFile, store: Store, watcher: Watcher, resumes: boolean): Promise<boolean> {
  const { info, name } = file;
  const hash = sha256.create();
  let index = 0;
  for (
    let bytes = resumes ? await store.piece(info, 0) : null;
    bytes !== null;
    bytes = await store.piece(info, index)
  ) {
    hash.update(bytes);
    index += 1;
    if (index === pieceCount(info)) break;
  }
  const resumedAt = Math.min(index * PIECE_BYTES, info.bytes);
  watcher.onBytes(resumedAt);
  try {
    for await (const piece of pieces(file, resumedAt, watcher)) {
      hash.update(piece);
      await store.keep(info, index, piece);
      index += 1;
    }
  } catch (error) {
    if (error instanceof ArtifactError && !(error instanceof ConnectionError)) await store.remove(info);
    throw error;
  }
  const found = bytesToHex(hash.digest());
  if (found === info.sha256) {
    await store.complete(info);
    return true;
  }
  await store.remove(info);
  if (resumedAt > 0) return false;
  throw new ArtifactError(
    `${name}: sha256 ${found.slice(0, 12)}…, expected ${info.sha256.slice(0, 12)}…; it was removed from the cache, ` +
      "load again, or upload the artifact again",
  );
}

/** The rest of a file from byte `start` on, cut into the pieces of the store. */
async function* pieces(file: RemoteFile, start: number, watcher: Watcher): AsyncGenerator<Bytes> {
  const { bytes: size } = file.info;
  let index = Math.ceil(start / PIECE_BYTES);
  let piece = new Uint8Array(pieceBytes(file.info, index));
  let filled = 0;
  let position = start;
  for (let failures = 0; position < size; ) {
    const before = position;
    let reason: string;
    try {
      for await (let chunk of body(file, position, watcher.signal)) {
        if (position + chunk.length > size) throw wrongSize(file, `more than ${size} bytes`);
        position += chunk.length;
        watcher.onBytes(position);
        while (chunk.length > 0) {
          const part = chunk.subarray(0, piece.length - filled);
          piece.set(part, filled);
          filled += part.length;
          chunk = chunk.subarray(part.length);
          if (filled < piece.length) continue;
          yield piece;
          filled = 0;
          index += 1;
          piece = new Uint8Array(pieceBytes(file.info, index));
        }
      }
      reason = "the server ended it early";
    } catch (error) {
      watcher.signal?.throwIfAborted();
      if (!(error instanceof Lost)) throw error;
      reason = error.message;
    }
    if (position === size) return;
    failures = position > before ? 0 : failures + 1;
    const pause = PAUSES_MS[failures];
    if (pause === undefined) {
      throw new ConnectionError(
        `${file.name}: the connection to ${file.address} was lost at byte ${position} of ${size} (${reason}); ` +
          "what came is kept, load again to go on",
      );
    }
    await wait(pause, watcher.signal);
  }
}

/** A failure after which another try may go on. */
class Lost extends Error {}

/** The bytes of one answer from `start` on; throws Lost when the connection breaks. */
async function* body(file: RemoteFile, start: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const ending = new AbortController();
  const abort = () => ending.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", abort);
  let timer = setTimeout(() => ending.abort(), STALLED_MS);
  try {
    const headers: HeadersInit = start > 0 ? { range: `bytes=${start}-` } : {};
    // "no-store": the browser's own cache need not hold the weights a second time.
    const response = await fetch(file.address, { headers, cache: "no-store", signal: ending.signal });
    let skip = checkAnswer(file, response, start);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), STALLED_MS);
      const chunk = next.value.subarray(Math.min(skip, next.value.length));
      skip -= next.value.length - chunk.length;
      if (chunk.length > 0) yield chunk;
    }
  } catch (error) {
    if (error instanceof ArtifactError || error instanceof Lost) throw error;
    throw new Lost((error as Error).message);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    ending.abort(); // lets go of the connection when the reader stops early
  }
}

/** What of the answer must be skipped: a server without ranges begins anew. */
function checkAnswer(file: RemoteFile, response: Response, start: number): number {
  const { status, headers } = response;
  const { bytes } = file.info;
  if (status >= 500 || status === 408 || status === 429) throw new Lost(`HTTP ${status}`);
  if (status === 416) throw wrongSize(file, `at most ${start} bytes`);
  if (status !== 200 && status !== 206) {
    throw new ArtifactError(`${file.name}: HTTP ${status} at ${file.address}; upload the whole artifact folder`);
  }
  const [, first, whole] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get("content-range") ?? "") ?? [];
  // What another origin sends may be compressed without this page being told: its length is then not the file's.
  const isPlain = response.type === "basic" && headers.get("content-encoding") === null;
  const length = isPlain ? headers.get("content-length") : null;
  const size = status === 206 ? whole : length;
  if (size !== undefined && size !== null && Number(size) !== bytes) throw wrongSize(file, `${size} bytes`);
  if (first !== undefined && Number(first) !== start) throw new Lost(`it begins at byte ${first}, asked for ${start}`);
  return status === 206 ? 0 : start;
}

function wrongSize(file: RemoteFile, found: string): ArtifactError {
  return new ArtifactError(
    `${file.name}: the server has ${found}, expected ${file.info.bytes}; nothing of it was kept, upload the artifact again`,
  );
}

function wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
