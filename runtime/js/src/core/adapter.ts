/**
 * Read PEFT LoRA folders and hold them to the slots of an artifact.
 *
 * Knows nothing about sessions, tokens or how slot inputs are laid out; `docs/format.md` ("Slots") is the definition.
 */

import { CONFIG_FILE, EXPECTED, isSaved, type LoraConfig, parseConfig, rankOf, scalingOf } from "./adapter-config.js";
import { claims, type Narrowing, type Targets } from "./claims.js";
import { widenRows } from "./code-rows.js";
import { AdapterError, ArtifactError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { Slot } from "./format.js";
import { joinSome, show } from "./parse-json.js";
import { isFloat, readSafetensors, type StoredTensor, toFloat32 } from "./safetensors.js";
import { lookUpShared } from "./shared-factors.js";

export const WEIGHTS_FILE = "adapter_model.safetensors";
const PICKLE_FILE = "adapter_model.bin";

const KEY = /^(?:base_model\.model\.)?(?<module>.+)\.lora_(?<side>A|B|gain)(?:\.default)?\.weight$/;
const PREFIX = /^base_model\.model\./;
const SAVED = /\.modules_to_save(?:\.default)?(?=\.)/;
const NO_CHANGE = 1e-8; // root mean square of a delta that float32 weights cannot even hold

/** One side of an adapted module, row after row. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array; // (rows, columns)
}

/** One adapted module: `delta = scaling * b @ a`, and of DoRA `gain` times what the base's weight gives. */
export interface Factors {
  readonly a: Matrix; // (rank, in_features)
  readonly b: Matrix; // (out_features, rank)
  readonly scaling: number;
  readonly gain: Float32Array | null; // (out_features,)
}

/**
 * Every adapted module of a PEFT folder, by its name in the checkpoint. `targets` are PEFT's `target_modules`, a
 * pattern or name endings, null where they name no modules; `narrowing` is what other fields take out of them.
 */
export interface Adapter {
  readonly factors: ReadonlyMap<string, Factors>;
  readonly targets: Targets | null;
  readonly narrowing: Narrowing;
  /** Of DoRA the grid that its gains were computed on, else null. */
  readonly grid: string | null;
  /** The tensors of fully trained modules, by their names in the checkpoint. */
  readonly head: HeadTensors;
  /** Those modules: `modules_to_save`. */
  readonly saved: readonly string[];
  /** Lines about what was left unread, and changes nothing as far as anybody knows. */
  readonly notes: readonly string[];
  /** Token ids of an activated adapter: it acts from their last place in a prompt on. */
  readonly invocation: readonly number[];
  /** What its configuration calls the base model. */
  readonly base: string | null;
}

/** Tensors of a head by their names in the checkpoint. */
export type HeadTensors = ReadonlyMap<string, HeadValues>;

/** A tensor of a head as the checkpoint has it. */
export interface HeadValues {
  readonly sizes: readonly number[];
  readonly values: Float32Array;
}

/**
 * Read `adapter_config.json` and `adapter_model.safetensors`; throws one AdapterError. Factors may be views of the file.
 * `withHead` takes fully trained modules too, as adapters of a model with a head have them.
 */
export async function readAdapter(source: FolderSource, withHead: boolean = false): Promise<Adapter> {
  const config = await readConfig(source, withHead); // first: the tensors of another method would only add noise
  const tensors = await readTensors(source);
  const { sides, head, odd: wrong, notes } = collect(tensors, config);
  const factors = new Map<string, Factors>();
  for (const module of [...sides.keys()].sort()) {
    const rank = rankOf(config, module);
    const found = pair(sides.get(module) as Sides, rank, config.grid !== null);
    if (typeof found === "string") wrong.push(`${module}: ${found}`);
    else factors.set(module, { ...found, scaling: scalingOf(config, module, rank) });
  }
  if (tensors.size === 0) wrong.push(`${WEIGHTS_FILE} holds no tensors`);
  if (wrong.length > 0) {
    throw new AdapterError(`${source.where} cannot be used: ${joinSome(wrong)}; ${EXPECTED}`);
  }
  if (config.unknown.length > 0) {
    const unknown = joinSome(config.unknown.map(show), ", ");
    notes.push(`${CONFIG_FILE} has ${unknown}, which this release does not know and leaves unread`);
  }
  const { targets, narrowing, saved, invocation, base, grid } = config;
  return { factors, targets, narrowing, head, saved, notes, invocation, base, grid };
}

/**
 * Check that every module has its place in `slots` and that something changes; `where` names the adapter. Throws one
 * AdapterError that lists every module without a slot, every one that the configuration claims and the file lacks, or
 * the other way around, and every wrong shape.
 */
export function fitAdapter(adapter: Adapter, slots: readonly Slot[], where: string): void {
  const places = new Map(slots.flatMap((slot) => slot.parts.map((part) => [part.module, { slot, part }] as const)));
  const count = adapter.factors.size;
  const missing = [...adapter.factors.keys()].filter((module) => !places.has(module));
  if (missing.length > 0) {
    const share = missing.length === count ? "none" : count - missing.length;
    const known = slots[0]?.parts[0]?.module ?? "no slots at all";
    throw new AdapterError(
      `${where}: ${share} of its ${count} modules are in this artifact (which has ${known}, …); ` +
        `missing: ${joinSome(missing, ", ")}; use an adapter trained for this base`,
    );
  }
  const isClaimed = (module: string) => claims(module, adapter.targets, adapter.narrowing);
  const absent = [...places.keys()].filter((module) => !adapter.factors.has(module) && isClaimed(module));
  if (absent.length > 0) {
    throw new AdapterError(
      `${where} is incomplete: ${absent.length} of the ${absent.length + count} modules that its ` +
        `target_modules ask for have no factors: ${joinSome(absent, ", ")}; save or copy the adapter again`,
    );
  }
  const unclaimed = adapter.targets === null ? [] : [...adapter.factors.keys()].filter((module) => !isClaimed(module));
  if (unclaimed.length > 0) {
    throw new AdapterError(
      `${where} has factors for ${unclaimed.length} modules that its ${CONFIG_FILE} does not claim: ` +
        `${joinSome(unclaimed, ", ")}; save or copy the adapter again`,
    );
  }
  const wrong: string[] = [];
  for (const [module, { a, b }] of adapter.factors) {
    const { slot, part } = places.get(module) as { slot: Slot; part: { outFeatures: number } };
    if (a.columns !== slot.inFeatures || b.rows !== part.outFeatures) {
      const expected = `${slot.inFeatures} to ${part.outFeatures}`;
      wrong.push(`${module} maps ${a.columns} to ${b.rows} features, expected ${expected}`);
    }
  }
  if (wrong.length > 0) {
    throw new AdapterError(`${where} does not fit: ${joinSome(wrong)}; use an adapter trained for this base`);
  }
  if ([...adapter.factors].some(([module, { gain }]) => gain !== null && places.get(module)?.slot.gain === null)) {
    throw new AdapterError(
      `${where} is DoRA, and the slots of this artifact have no place for its gains; export it again with --dora, or ` +
        "with --merge ADAPTER_DIR",
    );
  }
  if (count > 0 && ![...adapter.factors.values()].some(changes)) {
    throw new AdapterError(
      `${where} changes nothing: alpha, A or B is zero or next to it in every module; was it trained and saved?`,
    );
  }
}

async function readConfig(source: FolderSource, withHead: boolean): Promise<LoraConfig> {
  if (!(await source.has(CONFIG_FILE))) {
    throw new AdapterError(`${source.where} has no ${CONFIG_FILE}; expected a folder saved by PEFT`);
  }
  if (!(await source.has(WEIGHTS_FILE))) {
    const hasPickle = await source.has(PICKLE_FILE);
    const found = hasPickle ? ` but ${PICKLE_FILE}, which can run code when it is opened` : "";
    throw new AdapterError(
      `${source.where} has no ${WEIGHTS_FILE}${found}; save the adapter with safe_serialization=True`,
    );
  }
  try {
    return parseConfig(await source.bytes(CONFIG_FILE), `${source.where}/${CONFIG_FILE}`, withHead);
  } catch (error) {
    throw error instanceof ArtifactError ? new AdapterError(error.message) : error;
  }
}

async function readTensors(source: FolderSource): Promise<Map<string, StoredTensor>> {
  try {
    const tensors = readSafetensors(await source.bytes(WEIGHTS_FILE), `${source.where}/${WEIGHTS_FILE}`);
    return widenRows(await lookUpShared(tensors, source), source.where);
  } catch (error) {
    throw error instanceof ArtifactError ? new AdapterError(error.message) : error;
  }
}

interface Sides {
  A?: Matrix;
  B?: Matrix;
  gain?: Matrix; // one column
}

/** For each module its sides in float32 (A, B, gain), the head's tensors, and a line for every tensor that cannot be one. */
function collect(tensors: ReadonlyMap<string, StoredTensor>, { saved, grid }: LoraConfig) {
  const sides = new Map<string, Sides>();
  const head = new Map<string, HeadValues>();
  const odd: string[] = [];
  const notes: string[] = [];
  for (const [key, tensor] of tensors) {
    const names = KEY.exec(key)?.groups as { module: string; side: keyof Sides } | undefined;
    const name = key.replace(PREFIX, "").replace(SAVED, "");
    const [size, expected] = names?.side === "gain" ? [1, "one dimension"] : [2, "two dimensions"];
    const [rows, columns = 1] = tensor.shape;
    if (names === undefined && isSaved(name, saved)) {
      const known = head.get(name);
      if (known !== undefined) {
        const lines = isSame(known.sizes, known.values, tensor) ? notes : odd;
        lines.push(`${name} is there twice, under two names`);
      } else if (!isFloat(tensor) || tensor.bytes.length === 0) {
        odd.push(`${key} is ${tensor.dtype} ${show(tensor.shape)}, expected floats`);
      } else {
        const values = toFloat32(tensor);
        if (!areFinite(values)) odd.push(`${key} holds numbers that are not finite`);
        else head.set(name, { sizes: tensor.shape, values });
      }
    } else if (names === undefined || (names.side === "gain" && grid === null)) {
      odd.push(`${key} is no LoRA factor`);
    } else if (tensor.shape.length !== size || !rows || !columns || !isFloat(tensor)) {
      odd.push(`${key} is ${tensor.dtype} ${show(tensor.shape)}, expected ${expected} of floats`);
    } else if (sides.get(names.module)?.[names.side] !== undefined) {
      const known = sides.get(names.module)?.[names.side] as Matrix;
      const lines = isSame([known.rows, known.columns].slice(0, size), known.values, tensor) ? notes : odd;
      lines.push(`${names.module} has lora_${names.side} twice, under two names`);
    } else {
      const values = toFloat32(tensor);
      if (!areFinite(values)) odd.push(`${key} holds numbers that are not finite`);
      else sides.set(names.module, { ...sides.get(names.module), [names.side]: { rows, columns, values } });
    }
  }
  return { sides, head, odd, notes };
}

function isSame(sizes: readonly number[], values: Float32Array, other: StoredTensor): boolean {
  if (!isFloat(other) || sizes.length !== other.shape.length) return false;
  if (sizes.some((size, index) => size !== other.shape[index])) return false;
  const others = toFloat32(other);
  return values.every((value, index) => value === others[index]);
}

function areFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += (values[index] as number) * 0; // NaN once one is not
  return sum === 0;
}

/** The sides of a module, or why they are no pair of the given rank, or have no gain beside them. */
function pair(sides: Sides, rank: number, hasGains: boolean): Omit<Factors, "scaling"> | string {
  const { A: a, B: b, gain } = sides;
  if (a === undefined || b === undefined) return `lora_${a === undefined ? "A" : "B"} is missing`;
  if (hasGains && gain === undefined) return "lora_gain is missing";
  if (a.rows !== rank || b.columns !== rank) {
    return `ranks of A and B are ${a.rows} and ${b.columns}, the config says ${rank}`;
  }
  if (gain !== undefined && gain.rows !== b.rows) return `lora_gain has ${gain.rows} numbers, B ${b.rows} rows`;
  return { a, b, gain: gain?.values ?? null };
}

function changes(item: Factors): boolean {
  return (item.gain?.some((value) => Math.abs(value) > NO_CHANGE) ?? false) || largestRms(item) > NO_CHANGE;
}

/** An upper bound on the root mean square of the delta. */
function largestRms({ a, b, scaling }: Factors): number {
  return (Math.abs(scaling) * norm(a.values) * norm(b.values)) / Math.sqrt(a.columns * b.rows);
}

function norm(values: Float32Array): number {
  let squares = 0;
  for (let index = 0; index < values.length; index++) squares += (values[index] as number) ** 2;
  return Math.sqrt(squares);
}
