/**
 * Read a PEFT folder for an artifact, whole and held to its receipt, or refuse it: the one check of every way in.
 *
 * Knows nothing about names, sessions or slot inputs.
 */

import { type Adapter, fitAdapter, readAdapter } from "./adapter.js";
import { AdapterError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { Manifest } from "./format.js";
import { findMismatch, findOtherFactors, readReceipt } from "./receipt.js";

/**
 * The adapter in `folder`; throws one AdapterError, which calls it `where`, with everything that does not fit. `trust`
 * leaves the receipt unread: which base, grid, tokenizer and template it names, and of which factors it is.
 */
export async function openAdapter(
  folder: FolderSource,
  manifest: Manifest,
  where: string,
  trust: boolean,
): Promise<Adapter> {
  if (manifest.slots.length === 0) {
    throw new AdapterError(
      `${where}: ${manifest.model.name} was exported without slots and takes no adapters; export it again without --merge`,
    );
  }
  const adapter = await readAdapter(folder);
  const receipt = trust ? null : await readReceipt(folder);
  const foreign = receipt === null ? null : findMismatch(receipt, manifest);
  try {
    fitAdapter(adapter, manifest.slots, where);
  } catch (error) {
    if (foreign === null || !(error instanceof AdapterError)) throw error;
    throw new AdapterError(`${error.message}; ${foreign}`);
  }
  if (foreign !== null) throw new AdapterError(`${where}: ${foreign}`);
  const other = receipt === null ? null : await findOtherFactors(receipt, folder, [...adapter.factors.keys()]);
  if (other !== null) throw new AdapterError(`${where}: ${other}`);
  return adapter;
}
