/**
 * Read the receipt of an adapter folder and hold it to the artifact and to the factors beside it.
 *
 * Knows nothing about sessions; `docs/format.md` ("Receipt") is the definition, `probe.ts` replays its probes.
 */

import { WEIGHTS_FILE } from "./adapter.js";
import { findWrong } from "./check-receipt.js";
import { AdapterError, ArtifactError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { Manifest } from "./format.js";
import { isFields, joinSome, parseJson, show } from "./parse-json.js";

const RECEIPT_FILE = "receipt.json";
const RECEIPT_VERSION = 1;
const LONGEST = 32 * 1024 * 1024; // bytes; one of a thousand modules and ten probes has 0.5 MB
const SHOWN = 4;

type Fields = Readonly<Record<string, unknown>>;

/** What a receipt says, as JSON holds it; the fields used here are checked when it is read. */
export interface Receipt {
  readonly base: {
    readonly name?: string;
    readonly fingerprint: string;
    readonly grid?: string | null;
    readonly tokenizer?: string | null;
    readonly chat_template?: string | null;
  };
  readonly quantization?: Fields | null;
  readonly training?: Fields | null;
  readonly modules?: Fields | null;
  /** By the name of the module. */
  readonly layers?: Fields | null;
  readonly weights?: string | null;
  readonly probes?: readonly unknown[] | null;
  /** Labels and calibration of the head that travels with the adapter. */
  readonly head?: Fields | null;
  /** Of tasks without a KV cache, in the place of probes. */
  readonly answers?: readonly unknown[] | null;
}

/** The receipt of an adapter folder, null where none was written; throws AdapterError when it cannot be read. */
export async function readReceipt(folder: FolderSource): Promise<Receipt | null> {
  if (!(await folder.has(RECEIPT_FILE))) return null;
  const where = `${folder.where}/${RECEIPT_FILE}`;
  try {
    return parseReceipt(await folder.bytes(RECEIPT_FILE), where);
  } catch (error) {
    throw error instanceof ArtifactError ? new AdapterError(error.message) : error;
  }
}

/** The receipt that `content` is, every field of its documented type; throws AdapterError in one line. */
export function parseReceipt(content: Uint8Array | string, where: string = RECEIPT_FILE): Receipt {
  const data = parseJson(content, where, AdapterError, "train the adapter again or delete the file", LONGEST);
  if (!isFields(data) || !isFields(data.base)) {
    throw new AdapterError(`${where} has no "base"; expected a receipt written by \`edgelora train\``);
  }
  const { format_version: version } = data;
  if (version !== RECEIPT_VERSION) {
    throw new AdapterError(`${where}: format_version is ${show(version)}, the newest read here is ${RECEIPT_VERSION}`);
  }
  const wrong = joinSome(findWrong(data));
  if (wrong !== "") {
    throw new AdapterError(`${where}: ${wrong}; write it anew with \`edgelora adapter receipt\`, or delete the file`);
  }
  return data as unknown as Receipt;
}

/** Why an adapter with this receipt does not belong to an artifact; null when it does. */
export function findMismatch(receipt: Receipt, manifest: Manifest): string | null {
  const { base } = receipt;
  const { name } = manifest.model;
  const ours = manifest.base;
  if (base.fingerprint !== ours.fingerprint) {
    return (
      `trained for another base: ${base.name || "unnamed"} (${short(base.fingerprint)}), ` +
      `this artifact holds ${name} (${short(ours.fingerprint)})`
    );
  }
  const grid = base.grid ?? null;
  if (grid !== null && grid !== ours.grid) {
    return (
      `trained on another grid of ${name}: ${describe(receipt)} (${short(grid)}), this artifact ` +
      `ships ${short(ours.grid)}; train it with the same --quant and --block-size as the export`
    );
  }
  return findOtherText(receipt, manifest);
}

/** Why the factors in `folder` (of `modules`, where known) are not those of the receipt; null when they are. */
export async function findOtherFactors(
  receipt: Receipt,
  folder: FolderSource,
  modules: readonly string[] | null = null,
): Promise<string | null> {
  const missing = receipt.modules?.missing;
  if (Array.isArray(missing) && missing.length > 0) {
    return `its receipt lists ${missing.length} modules without factors: ${some(missing)}; train the adapter again`;
  }
  const [told, there] = [new Set(Object.keys(receipt.layers ?? {})), new Set(modules ?? [])];
  if (modules !== null && told.size > 0) {
    const lost = [...told].filter((module) => !there.has(module)).sort();
    const strange = modules.filter((module) => !told.has(module)).sort();
    const lines = [];
    if (lost.length > 0) lines.push(`lacks ${lost.length} of the ${told.size} modules of its receipt: ${some(lost)}`);
    if (strange.length > 0) lines.push(`has ${strange.length} unknown to it: ${some(strange)}`);
    if (lines.length > 0) return `${WEIGHTS_FILE} ${lines.join("; ")}; copy the adapter again`;
  }
  const expected = receipt.weights ?? null;
  if (expected === null) return null;
  const found = await folder.sha256(WEIGHTS_FILE);
  if (found === expected) return null;
  return (
    `the receipt belongs to other factors: ${WEIGHTS_FILE} has sha256 ${short(found)}, the receipt says ` +
    `${short(expected)}; copy the whole folder again`
  );
}

/** A tokenizer or chat template that differs; raw training saw no template, so any will do. */
function findOtherText(receipt: Receipt, manifest: Manifest): string | null {
  const { tokenizer } = manifest;
  if (tokenizer === null) return null;
  const template = receipt.training?.raw ? null : tokenizer.chatTemplate;
  for (const [key, file] of [["tokenizer", tokenizer.file] as const, ["chat_template", template] as const]) {
    const trained = receipt.base[key] ?? null;
    const shipped = file === null ? undefined : manifest.files.get(file);
    if (trained !== null && shipped !== undefined && trained !== shipped.sha256) {
      return (
        `trained with another ${key.replace("_", " ")} (${short(trained)}), this artifact ships ` +
        `${short(shipped.sha256)}; train and export from the same checkpoint`
      );
    }
  }
  const variables = receipt.training?.template_variables ?? null;
  const ours = tokenizer.templateVariables;
  if (template !== null && isFields(variables) && canonical(variables) !== canonical(ours)) {
    return (
      `trained with the template variables ${listed(variables)}, this artifact has ${listed(ours)}; ` +
      "give train and export the same --template-var"
    );
  }
  return null;
}

function listed(variables: Fields): string {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return joinSome(lines.sort(), ", ") || "(none)";
}

/** JSON that is the same for equal values, whatever the order of their keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (!isFields(value)) return JSON.stringify(value);
  const pairs = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`);
  return `{${pairs.sort().join(",")}}`;
}

function describe(receipt: Receipt): string {
  const told = Object.entries(receipt.quantization ?? {})
    .filter(([, item]) => item && item !== "rtn" && typeof item !== "object")
    .map(([key, item]) => `${key} ${item}`);
  return told.sort().join(", ") || "not quantized";
}

function short(hash: string): string {
  return hash.slice(0, 12);
}

function some(names: readonly unknown[]): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : "";
  return names.slice(0, SHOWN).join(", ") + more;
}
