/**
 * The manifest of an artifact on a server; the one that is stored where the server has none to give.
 *
 * Knows nothing about the other files.
 */

import { throwIfAborted } from "./abort.js";
import type { Remote } from "./address.js";
import { type Asking, streamOf } from "./asking.js";
import type { Bytes } from "./bytes.js";
import { ArtifactError, ConnectionError } from "./errors.js";
import { MANIFEST_FILE, type Manifest } from "./format.js";
import { openManifest } from "./manifest.js";

const PATIENCE_MS = 30_000;
const SHORT_PATIENCE_MS = 3000; // where the artifact is stored whole

/** A manifest, and the upload that it is of. */
export interface FoundManifest {
  readonly bytes: Bytes;
  readonly manifest: Manifest;
  readonly remote: Remote;
  /** It came from the server just now. */
  readonly isFresh: boolean;
}

/** Who asks for a manifest. */
export interface ManifestOptions extends Asking {
  readonly signal?: AbortSignal | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/**
 * The manifest at `remote`. Where the artifact is stored whole, `stored` is its manifest, and takes the place of what the
 * server does not give in three seconds, or gives and is none, such as the page of a network that wants a login: with a
 * warning. Null where the server has none and none is stored. Throws ConnectionError, ArtifactError for a wrong one.
 */
export async function fetchManifest(
  remote: Remote,
  stored: Bytes | null,
  options: ManifestOptions,
): Promise<FoundManifest | null> {
  const address = remote.addressOf(MANIFEST_FILE);
  const found = await ask(address, stored === null ? PATIENCE_MS : SHORT_PATIENCE_MS, options);
  let reason = found.reason;
  if (found.bytes !== null && found.answer !== null) {
    try {
      const manifest = openManifest(found.bytes, `${remote.where}/${MANIFEST_FILE}`);
      return { bytes: found.bytes, manifest, remote: remote.pin(found.answer), isFresh: true };
    } catch (error) {
      if (stored === null || !(error instanceof ArtifactError)) throw error;
      reason = error.message;
    }
  }
  if (stored === null) {
    if (found.isMissing) return null; // it may be uploaded a moment later
    throw new ConnectionError(`${address} cannot be reached (${reason}) and is not stored; connect and load again`);
  }
  const manifest = openManifest(stored, `${remote.where}/${MANIFEST_FILE}`);
  options.onWarning?.(`${address} cannot be had (${reason}); the artifact that is stored is used as it is`);
  return { bytes: stored, manifest, remote, isFresh: false };
}

/** What a server has at the address of a manifest. */
interface Answer {
  readonly answer: Response | null;
  readonly bytes: Bytes | null;
  /** Why there are no bytes. */
  readonly reason: string;
  /** The server answers, and has no such file. */
  readonly isMissing: boolean;
}

/** Throws the signal's reason, and InputError for a `fetch` that gives no streams: before anything large is asked for. */
async function ask(address: string, patience: number, options: ManifestOptions): Promise<Answer> {
  const { fetch = globalThis.fetch, headers, credentials, signal } = options;
  const ending = new AbortController();
  const abort = () => ending.abort();
  throwIfAborted(signal);
  signal?.addEventListener("abort", abort);
  const timer = setTimeout(abort, patience);
  try {
    const asked = { ...(headers && { headers }), ...(credentials && { credentials }) };
    const answer = await fetch(address, { ...asked, cache: "no-store", signal: ending.signal });
    const { ok, status } = answer;
    if (ok) streamOf(answer);
    const bytes = ok ? new Uint8Array(await answer.arrayBuffer()) : null;
    return { answer, bytes, reason: `HTTP ${status}`, isMissing: status === 404 || status === 410 };
  } catch (error) {
    throwIfAborted(signal);
    if ((error as Error).name === "InputError") throw error;
    const reason = ending.signal.aborted ? `no answer in ${patience / 1000} s` : (error as Error).message;
    return { answer: null, bytes: null, reason, isMissing: false };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}
