/**
 * One file from a server to a place that keeps it: goes on where it stopped, and checks each piece while it comes.
 *
 * Knows nothing about where that is: a browser's cache, a disk and a phone's storage are each a `Place`.
 */

import { throwIfAborted, untilAborted } from "./abort.js";
import { type Asking, lengthOf, streamOf } from "./asking.js";
import type { Bytes } from "./bytes.js";
import { ArtifactError, ConnectionError, InputError } from "./errors.js";
import type { FileInfo } from "./format.js";
import { type Check, type Hashing, makeCheck } from "./piece-check.js";

const PAUSES_MS = [250, 1000, 3000]; // before each try after one that brought nothing; then the connection is lost
const STALLED_MS = 30_000; // without a byte

/** A file of a server. */
export interface RemoteFile {
  readonly name: string;
  readonly address: string;
  readonly info: FileInfo;
}

/** Where the bytes of one file go, piece after piece. */
export interface Place {
  /** Whether what is held was checked before it was kept, and was kept whole or not at all. */
  readonly isChecked: boolean;
  /** Bytes that are there from before, counted from the beginning of the file. */
  held(): Promise<number>;
  /** `length` of the bytes that are there, from `offset` on. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Put a piece behind those that are there. */
  append(piece: Bytes): Promise<void>;
  /** Forget what lies from `offset` on, the beginning of a piece. */
  cut(offset: number): Promise<void>;
  /** Every byte is there and right. */
  commit(): Promise<void>;
}

/** What a transfer needs beside file and place. */
export interface TransferOptions extends Asking {
  readonly hashing: Hashing;
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of bytes of the file that are there by now. */
  readonly onBytes: (loaded: number) => void;
}

/**
 * Make sure that the whole file is at its place. Throws ConnectionError where what came is kept and another transfer goes
 * on, ArtifactError where the server has another file; pieces that were checked stay there even then.
 */
export async function transfer(file: RemoteFile, place: Place, options: TransferOptions): Promise<void> {
  const { info, name } = file;
  for (let resumes = true; ; resumes = false) {
    const check = await makeCheck(info, options.hashing);
    const start = resumes ? await resume(info, place, check) : 0;
    options.onBytes(start);
    try {
      await fetchRest(file, place, start, check, options);
    } catch (error) {
      const isOther = error instanceof ArtifactError && !(error instanceof ConnectionError);
      if (isOther && !check.knowsPieces) await place.cut(0);
      throw error;
    }
    const found = check.findWrong();
    if (found === null) return place.commit();
    await place.cut(0);
    // What was there from before may be of another upload: once without it, which throws where that is no better.
    if (start > 0) continue;
    throw wrongHash(name, found, info.sha256);
  }
}

/** Bytes at the place that are of this file, as far as it can be known; the rest is cut off. */
async function resume(info: FileInfo, place: Place, check: Check): Promise<number> {
  const held = await place.held();
  let position = 0;
  for (let index = 0; position < info.bytes; index++) {
    const length = Math.min(check.size, info.bytes - position);
    if (position + length > held) break;
    if (!(place.isChecked && check.knowsPieces)) {
      if (!(await check.accepts(index, await place.read(position, length)))) break;
    }
    position += length;
  }
  if (held > position) await place.cut(position);
  return position;
}

/** Bring the file from byte `start` on, piece by piece, over as many connections as it takes. */
async function fetchRest(
  file: RemoteFile,
  place: Place,
  start: number,
  check: Check,
  options: TransferOptions,
): Promise<void> {
  const { signal, onBytes } = options;
  const { bytes: total } = file.info;
  const pieceAt = (offset: number) => new Uint8Array(Math.min(check.size, total - offset));
  let position = start; // of the piece that is being filled
  let piece = pieceAt(position);
  let filled = 0;
  let damagedAt = -1;
  for (let failures = 0; position < total; ) {
    const before = position + filled;
    let reason = "the server ended it early";
    try {
      for await (let chunk of body(file, before, options)) {
        if (position + filled + chunk.length > total) throw wrongSize(file, `more than ${total} bytes`);
        while (chunk.length > 0) {
          const part = chunk.subarray(0, piece.length - filled);
          piece.set(part, filled);
          filled += part.length;
          chunk = chunk.subarray(part.length);
          if (filled < piece.length) break;
          filled = 0;
          const index = Math.floor(position / check.size);
          if (!(await check.accepts(index, piece))) {
            if (damagedAt === position) throw wrongPiece(file, position, piece.length);
            damagedAt = position; // a byte may have turned on the way: this piece once more
            throw new Lost("a piece came with other bytes than the manifest says");
          }
          await place.append(piece);
          position += piece.length;
          piece = pieceAt(position);
        }
        onBytes(position + filled);
      }
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof Lost)) throw error;
      reason = error.message;
    }
    if (position === total) return;
    failures = position + filled > before ? 0 : failures + 1;
    const pause = PAUSES_MS[failures];
    if (pause === undefined) {
      throw new ConnectionError(
        `${file.name}: the connection to ${file.address} was lost at byte ${position + filled} of ${total} (${reason}); ` +
          "what came is kept, load again to go on",
      );
    }
    await wait(pause, signal);
  }
}

/** A failure after which another try may go on. */
class Lost extends Error {}

/** The bytes of one answer from `start` on; throws Lost when the connection breaks or says nothing any more. */
async function* body(file: RemoteFile, start: number, options: TransferOptions): AsyncGenerator<Uint8Array> {
  const { fetch = globalThis.fetch, credentials, signal } = options;
  const ending = new AbortController();
  const soon = <Result>(work: Promise<Result>) => inTime(work, ending, options);
  try {
    throwIfAborted(signal);
    const headers = { ...options.headers, ...(start > 0 ? { range: `bytes=${start}-` } : {}) };
    // "no-store": the browser's own cache need not hold the weights a second time.
    const init = { headers, cache: "no-store", signal: ending.signal, ...(credentials && { credentials }) } as const;
    const response = await soon(fetch(file.address, init));
    let skip = checkAnswer(file, response, start);
    const reader = streamOf(response).getReader();
    for (let next = await soon(reader.read()); !next.done; next = await soon(reader.read())) {
      const chunk = next.value.subarray(Math.min(skip, next.value.length));
      skip -= next.value.length - chunk.length;
      if (chunk.length > 0) yield chunk;
    }
  } catch (error) {
    if (error instanceof ArtifactError || error instanceof InputError || error instanceof Lost) throw error;
    throw new Lost((error as Error).message);
  } finally {
    ending.abort(); // lets go of the connection when the reader stops early
  }
}

/** What `work` gives, unless the signal ends it or nothing comes for too long; the connection is ended then. */
function inTime<Result>(work: Promise<Result>, ending: AbortController, options: TransferOptions): Promise<Result> {
  const { signal, stalledMs = STALLED_MS } = options;
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    const abort = () => {
      finish();
      ending.abort();
      reject(new Lost("aborted"));
    };
    const timer = setTimeout(() => {
      finish();
      ending.abort();
      reject(new Lost(`no byte in ${stalledMs / 1000} s`));
    }, stalledMs);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort(); // by whoever was told how much has come
    work.then(
      (result) => {
        finish();
        resolve(result);
      },
      (error: unknown) => {
        finish();
        reject(error as Error);
      },
    );
  });
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
  const size = status === 206 ? whole : lengthOf(response);
  if (size !== undefined && size !== null && Number(size) !== bytes) throw wrongSize(file, `${size} bytes`);
  if (first !== undefined && Number(first) !== start) throw new Lost(`it begins at byte ${first}, asked for ${start}`);
  return status === 206 ? 0 : start;
}

function wrongSize(file: RemoteFile, found: string): ArtifactError {
  return new ArtifactError(
    `${file.name}: the server has ${found}, expected ${file.info.bytes}; upload the artifact again`,
  );
}

function wrongPiece(file: RemoteFile, offset: number, length: number): ArtifactError {
  return new ArtifactError(
    `${file.name}: the bytes from ${offset} to ${offset + length} are not those that the manifest says, twice in a row; ` +
      "upload the artifact again",
  );
}

function wrongHash(name: string, found: string, expected: string): ArtifactError {
  return new ArtifactError(
    `${name}: sha256 ${found.slice(0, 12)}…, expected ${expected.slice(0, 12)}…; nothing of it was kept, load again, ` +
      "or upload the artifact again",
  );
}

async function wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const passed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await untilAborted(passed, signal, () => {}).finally(() => clearTimeout(timer));
}
