/**
 * A small folder of a server, an adapter's for example.
 *
 * Knows nothing about what is in the files.
 */

import { throwIfAborted } from "./abort.js";
import type { AddressOptions, Remote } from "./address.js";
import { lengthOf } from "./asking.js";
import type { Bytes } from "./bytes.js";
import { ArtifactError, ConnectionError } from "./errors.js";
import type { FileProgress, FolderSource, Watch } from "./files.js";
import type { Hashing } from "./piece-check.js";
import { resolve } from "./resolve.js";

type Digest = Hashing["digest"];

/** The folder at an absolute address; files are fetched when they are asked for, and kept as long as it is. */
export function fetchedFolder(
  address: string,
  digest: Digest,
  asking: AddressOptions,
  watch: Watch = {},
): FolderSource {
  return new FetchedFolder(address, digest, asking, watch);
}

class FetchedFolder implements FolderSource {
  readonly where: string;
  readonly #digest: Digest;
  readonly #asking: AddressOptions;
  readonly #watch: Watch;
  readonly #files = new Map<string, Promise<Uint8Array | null>>();
  #remote: Remote | null = null;

  constructor(where: string, digest: Digest, asking: AddressOptions, watch: Watch) {
    this.where = where;
    this.#digest = digest;
    this.#asking = asking;
    this.#watch = watch;
  }

  reading(watch: Watch): FolderSource {
    return new FetchedFolder(this.where, this.#digest, this.#asking, watch);
  }

  async has(path: string): Promise<boolean> {
    return (await this.#fetch(path)) !== null;
  }

  async bytes(path: string): Promise<Uint8Array> {
    const bytes = await this.#fetch(path);
    if (bytes === null) throw new ArtifactError(`${this.where} has no ${path}; upload the whole folder`);
    return bytes;
  }

  async sha256(path: string): Promise<string> {
    return this.#digest(await this.bytes(path));
  }

  #fetch(path: string): Promise<Uint8Array | null> {
    const begun = this.#files.get(path) ?? this.#fetchFile(path);
    this.#files.set(path, begun);
    begun.catch(() => this.#files.delete(path)); // the next try may succeed
    return begun;
  }

  async #fetchFile(file: string): Promise<Uint8Array | null> {
    const { signal, onProgress } = this.#watch;
    const { headers = {}, credentials, fetch = globalThis.fetch } = this.#asking;
    this.#remote ??= await resolve(this.where, this.#asking);
    const address = this.#remote.addressOf(file);
    let response: Response;
    let own: { readonly error: unknown } | null = null; // thrown by who watches, and no matter of the connection
    const watch = (progress: FileProgress) => {
      try {
        onProgress?.(progress);
      } catch (error) {
        own = { error };
        throw error;
      }
    };
    try {
      // "no-cache" asks the server whether the file is still the same: an adapter may have been uploaded anew.
      const asked = { ...(credentials && { credentials }), ...(signal && { signal }) };
      response = await fetch(address, { ...asked, headers: { ...headers }, cache: "no-cache" });
      this.#remote = this.#remote.pin(response); // its other files are then of the same upload
      if (response.ok) return await readBody(response, file, watch);
    } catch (error) {
      throwIfAborted(signal);
      if (own !== null) throw (own as { readonly error: unknown }).error;
      throw new ConnectionError(`${address} cannot be reached (${(error as Error).message}); connect and try again`);
    }
    return refuse(response, address);
  }
}

/** Null where the server has no such file; throws ConnectionError for other answers. */
function refuse({ status }: Response, address: string): null {
  if (status === 404 || status === 410) return null;
  const advice = status === 401 || status === 403 ? "let this page read it" : "try again later";
  throw new ConnectionError(`${address} cannot be reached (HTTP ${status}); ${advice}`);
}

/** The bytes of an answer, as they come. */
async function readBody(
  response: Response,
  file: string,
  onProgress: ((progress: FileProgress) => void) | undefined,
): Promise<Uint8Array> {
  if (onProgress === undefined || response.body === null) return new Uint8Array(await response.arrayBuffer());
  const length = lengthOf(response);
  const totalBytes = length === null ? null : Number(length);
  const parts: Bytes[] = [];
  let loadedBytes = 0;
  const reader = response.body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value);
    loadedBytes += next.value.length;
    onProgress({ file, loadedBytes, totalBytes });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
