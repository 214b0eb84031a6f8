/**
 * Read a PEFT folder for an artifact, whole and held to its receipt, or refuse it: the one check of every way in. What it
 * takes to read adapters is imported from here, when the first one is used.
 *
 * Knows nothing about names, sessions or slot inputs.
 */

import { type Adapter, fitAdapter, readAdapter } from "./adapter.js";
import { findOtherName } from "./base-name.js";
import { AdapterError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { Manifest } from "./format.js";
import { packAdapter } from "./pack-adapter.js";
import type { Packed } from "./packing.js";
import { joinSome } from "./parse-json.js";
import { findMismatch, findOtherFactors, type Receipt, readReceipt } from "./receipt.js";

/** What a head is held to, where the model has one. */
export interface HeadCheck {
  /** A line for each tensor with which, or without which, the head could not answer. */
  find(adapter: Adapter): string[];
  /** Why the head looks as before any training; null where it does not. */
  findUntrained(adapter: Adapter): string | null;
}

/** An adapter that passed the check, with its receipt; null where there is none or it was not read. */
export interface OpenedAdapter {
  readonly adapter: Adapter;
  readonly packed: Packed;
  readonly receipt: Receipt | null;
}

/**
 * The adapter in `folder`; throws one AdapterError, which calls it `where`, with everything that does not fit. `trust`
 * leaves the receipt unread: which base, grid, tokenizer and template it names, and of which factors it is; and takes a
 * head at its initial values. What the folder says and nobody reads is a warning on the console, and so is a base of
 * another name where there is no receipt.
 */
export async function openAdapter(
  folder: FolderSource,
  manifest: Manifest,
  where: string,
  trust: boolean,
  head: HeadCheck | null = null,
): Promise<OpenedAdapter> {
  if (manifest.slots.length === 0) {
    throw new AdapterError(
      `${where}: ${manifest.model.name} was exported without slots and takes no adapters; export it again without --merge`,
    );
  }
  const adapter = await readAdapter(folder, (manifest.encoder?.head ?? []).length > 0);
  const receipt = trust ? null : await readReceipt(folder);
  const lines = head?.find(adapter) ?? [];
  const told = lines.length > 0 ? [`its head does not fit: ${joinSome(lines)}`] : [];
  const foreign = receipt === null ? null : findMismatch(receipt, manifest);
  if (foreign !== null) told.push(foreign);
  const { grid } = manifest.base;
  if (adapter.grid !== null && adapter.grid !== grid) {
    told.push(
      `its DoRA was converted for grid ${adapter.grid.slice(0, 12)}, this artifact has ${grid.slice(0, 12)}; add it ` +
        "from the folder that PEFT saved",
    );
  }
  const [largest, end] = [Math.max(-1, ...adapter.invocation), manifest.model.vocabSize];
  if (adapter.invocation.length > 0 && manifest.encoder !== null) {
    told.push("it uses activated LoRA (alora_invocation_tokens), which only a decoder can run");
  } else if (largest >= end) {
    told.push(
      `its invocation has token ${largest}, the vocabulary ends at ${end - 1}; use an adapter trained for this base`,
    );
  }
  try {
    fitAdapter(adapter, manifest.slots, where);
  } catch (error) {
    if (told.length === 0 || !(error instanceof AdapterError)) throw error;
    throw new AdapterError([error.message, ...told].join("; "));
  }
  if (told.length > 0) throw new AdapterError(`${where}: ${told.join("; ")}`);
  const untrained = trust ? null : (head?.findUntrained(adapter) ?? null);
  if (untrained !== null) throw new AdapterError(`${where}: ${untrained}`);
  const other = receipt === null ? null : await findOtherFactors(receipt, folder, [...adapter.factors.keys()]);
  if (other !== null) throw new AdapterError(`${where}: ${other}`);
  const named = trust || receipt !== null ? null : adapter.base;
  const note = findOtherName(named, [manifest.model.name, manifest.base.source], "this artifact holds");
  for (const line of note === null ? adapter.notes : [...adapter.notes, note]) console.warn(`${where}: ${line}`);
  return { adapter, packed: packAdapter(adapter, manifest.slots), receipt };
}
