/**
 * The tensors of an adapter that lie in a file which adapters of one artifact share.
 *
 * Such a tensor is 64 bytes in the adapter's own file: the SHA-256 of the shared file, which is its name as well, and
 * the name that the tensor has in it.
 */

import { toHex } from "./bytes.js";
import { AdapterError } from "./errors.js";
import type { FolderSource } from "./files.js";
import { show } from "./parse-json.js";
import { readSafetensors, type StoredTensor } from "./safetensors.js";

const REFERENCE_BYTES = 64;
const AGAIN = "; copy or export the artifact again";
const MISSING = "is missing; copy the whole artifact, or take the adapter out of it with `edgelora adapter convert`";

/**
 * The same tensors with those that the shared files beside the folder `source` hold; throws AdapterError for one of these
 * that is missing or another.
 */
export async function lookUpShared(
  tensors: Map<string, StoredTensor>,
  source: FolderSource,
): Promise<Map<string, StoredTensor>> {
  const shared = new Map<string, Map<string, StoredTensor>>();
  for (const [name, { dtype, shape, bytes }] of tensors) {
    if (dtype !== "U8" || shape.length !== 1 || bytes.length !== REFERENCE_BYTES) continue;
    const reference = toHex(new Uint8Array(bytes).buffer);
    const [sha256, key] = [reference.slice(0, REFERENCE_BYTES), reference.slice(REFERENCE_BYTES)];
    const path = `../${sha256}.safetensors`;
    const refuse = (what: string, why: string) =>
      new AdapterError(`${source.where} has ${what} in ${path}, which ${why}`);
    let found = shared.get(sha256);
    if (found === undefined) {
      if (!(await source.has(path))) throw refuse("factors", MISSING);
      const other = await source.sha256(path);
      if (other !== sha256) throw refuse("factors", `has sha256 ${other.slice(0, 12)}${AGAIN}`);
      found = readSafetensors(await source.bytes(path), `${source.where}/${path}`);
      shared.set(sha256, found);
    }
    const tensor = found.get(key);
    if (tensor === undefined) throw refuse(show(name), `holds no tensor ${key.slice(0, 12)}${AGAIN}`);
    tensors.set(name, tensor);
  }
  return tensors;
}
