/**
 * Read PEFT LoRA folders and hold them to the slots of an artifact.
 *
 * Knows nothing about sessions, tokens or how slot inputs are laid out; `docs/artifact.md` ("Slots") is the definition.
 */

import { AdapterError, ArtifactError } from "./errors.js";
import { type Slot, show } from "./manifest.js";
import { isFloat, readSafetensors, type StoredTensor, toFloat32 } from "./safetensors.js";
import { type FolderSource, readText } from "./source.js";

export const WEIGHTS_FILE = "adapter_model.safetensors";
export const CONFIG_FILE = "adapter_config.json";

const KEY = /^(?:base_model\.model\.)?(?<module>.+)\.lora_(?<side>[AB])(?:\.default)?\.weight$/;
// Each of these changes what the tensors mean or the base below them; ignoring one would give other answers silently.
const REFUSED: readonly (readonly [string, string])[] = [
  ["use_dora", "DoRA"],
  ["lora_bias", "LoRA biases"],
  ["use_qalora", "QALoRA"],
  ["use_bdlora", "block-diagonal LoRA"],
  ["modules_to_save", "fully trained modules (modules_to_save)"],
  ["trainable_token_indices", "trained token embeddings (trainable_token_indices)"],
  ["target_parameters", "adapted bare parameters (target_parameters)"],
  ["layer_replication", "replicated layers (layer_replication)"],
  ["alora_invocation_tokens", "activated LoRA (alora_invocation_tokens)"],
  ["arrow_config", "Arrow routing"],
  ["kasa_config", "KaSA"],
  ["velora_config", "VeLoRA"],
  ["monteclora_config", "MonteCLoRA"],
];
const NARROWING = ["layers_to_transform", "layers_pattern", "exclude_modules"];
const NO_CHANGE = 1e-8; // root mean square of a delta that float32 weights cannot even hold
const BASE_CHANGING_START = /^(pissa|olora|corda|loftq|lora_ga)/i;

/** One side of an adapted module, row after row. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array; // (rows, columns)
}

/** One adapted module: `delta = scaling * b @ a`. */
export interface Factors {
  readonly a: Matrix; // (rank, in_features)
  readonly b: Matrix; // (out_features, rank)
  readonly scaling: number;
}

/**
 * Every adapted module of a PEFT folder, by its name in the checkpoint. `targets` are PEFT's `target_modules`, a
 * pattern or name endings, where they claim every layer; null elsewhere.
 */
export interface Adapter {
  readonly factors: ReadonlyMap<string, Factors>;
  readonly targets: string | readonly string[] | null;
}

type Config = Readonly<Record<string, unknown>>;

/** Read `adapter_config.json` and `adapter_model.safetensors`; throws one AdapterError. Factors may be views of the file. */
export async function readAdapter(source: FolderSource): Promise<Adapter> {
  const config = await readConfig(source);
  const refuse = (reasons: readonly string[]) => {
    const all = reasons.join("; ");
    return new AdapterError(`${source.where} cannot be used: ${all}; expected plain LoRA as PEFT saves it`);
  };
  const wrong = refusals(config);
  if (wrong.length > 0) throw refuse(wrong); // the tensors of another method would only add noise
  const tensors = await readTensors(source);
  const { sides, odd } = collect(tensors);
  wrong.push(...odd);
  const factors = new Map<string, Factors>();
  for (const module of [...sides.keys()].sort()) {
    const found = pair(sides.get(module) as Sides, byPattern(config, "rank_pattern", "r", module));
    if (typeof found === "string") wrong.push(`${module}: ${found}`);
    else factors.set(module, { ...found, scaling: scalingOf(config, module) });
  }
  if (tensors.size === 0) wrong.push(`${WEIGHTS_FILE} holds no tensors`);
  if (wrong.length > 0) throw refuse(wrong);
  return { factors, targets: targetsOf(config) };
}

/**
 * Check that every module has its place in `slots` and that something changes; `where` names the adapter. Throws one
 * AdapterError that lists every module without a slot, every one that `target_modules` ask for and the file lacks, and
 * every wrong shape.
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
        `missing: ${missing.join(", ")}; use an adapter trained for this base`,
    );
  }
  const isTarget = targetTest(adapter.targets);
  const absent = [...places.keys()].filter((module) => !adapter.factors.has(module) && isTarget(module));
  if (absent.length > 0) {
    throw new AdapterError(
      `${where} is incomplete: ${absent.length} of the ${absent.length + count} modules that its ` +
        `target_modules ask for have no factors: ${absent.join(", ")}; save or copy the adapter again`,
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
    throw new AdapterError(`${where} does not fit: ${wrong.join("; ")}; use an adapter trained for this base`);
  }
  if (![...adapter.factors.values()].some((item) => largestRms(item) > NO_CHANGE)) {
    throw new AdapterError(
      `${where} changes nothing: alpha, A or B is zero or next to it in every module; was it trained and saved?`,
    );
  }
}

async function readConfig(source: FolderSource): Promise<Config> {
  if (!(await source.has(CONFIG_FILE))) {
    throw new AdapterError(`${source.where} has no ${CONFIG_FILE}; expected a folder saved by PEFT`);
  }
  if (!(await source.has(WEIGHTS_FILE))) {
    throw new AdapterError(`${source.where} has no ${WEIGHTS_FILE}; save the adapter with safe_serialization=True`);
  }
  const where = `${source.where}/${CONFIG_FILE}`;
  let config: unknown;
  try {
    config = JSON.parse(await readText(source, CONFIG_FILE));
  } catch (error) {
    if (error instanceof ArtifactError) throw new AdapterError(error.message);
    throw new AdapterError(`${where} is not JSON (${(error as Error).message}); save the adapter again`);
  }
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new AdapterError(`${where} holds ${show(config)}, expected an object; save the adapter again`);
  }
  return config as Config;
}

async function readTensors(source: FolderSource): Promise<Map<string, StoredTensor>> {
  try {
    return readSafetensors(await source.bytes(WEIGHTS_FILE), `${source.where}/${WEIGHTS_FILE}`);
  } catch (error) {
    throw error instanceof ArtifactError ? new AdapterError(error.message) : error;
  }
}

function refusals(config: Config): string[] {
  const wrong: string[] = [];
  if (config.peft_type !== "LORA") wrong.push(`peft_type is ${show(config.peft_type)}, expected "LORA"`);
  for (const [field, words] of REFUSED) {
    if (!isEmpty(config[field])) wrong.push(`it uses ${words}`);
  }
  if ((config.bias ?? "none") !== "none") wrong.push(`bias is ${show(config.bias)}, expected "none"`);
  const start = config.init_lora_weights;
  if (typeof start === "string" && BASE_CHANGING_START.test(start)) {
    wrong.push(`init_lora_weights is ${show(start)}, which changes the base; convert it to plain LoRA when saving`);
  }
  for (const field of ["r", "lora_alpha"]) {
    if (!isPositive(config[field])) wrong.push(`${field} is ${show(config[field])}, expected a number above 0`);
  }
  for (const field of ["rank_pattern", "alpha_pattern"]) {
    const pattern = config[field] ?? {};
    const isRight =
      typeof pattern === "object" &&
      Object.values(pattern).every(isPositive) &&
      Object.keys(pattern).every((key) => endPattern(key) !== null);
    if (!isRight) wrong.push(`${field} is ${show(pattern)}, expected module patterns with numbers above 0`);
  }
  return wrong;
}

/** What Python takes for false, as PEFT writes "not used": null, false, 0, "", [] and {}. */
function isEmpty(value: unknown): boolean {
  return !value || (typeof value === "object" && Object.keys(value).length === 0);
}

function isPositive(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}

/** `target_modules` where nothing else in the configuration narrows them down to some layers. */
function targetsOf(config: Config): string | string[] | null {
  const targets = config.target_modules;
  const isNarrowed = NARROWING.some((field) => {
    const value = config[field] ?? "";
    return Array.isArray(value) ? value.length > 0 : value !== "";
  });
  if (isNarrowed || targets === "all-linear") return null;
  if (typeof targets === "string") return targets;
  return Array.isArray(targets) ? targets.filter((item) => typeof item === "string") : null;
}

/** PEFT's rule: a text is a pattern for the whole name, a list holds endings of names. */
function targetTest(targets: string | readonly string[] | null): (module: string) => boolean {
  if (targets === null) return () => false;
  if (typeof targets !== "string") {
    return (module) => targets.some((target) => module === target || module.endsWith(`.${target}`));
  }
  const pattern = compile(`^(?:${targets})$`); // what PEFT would not take either claims nothing
  return (module) => pattern?.test(module) ?? false;
}

interface Sides {
  A?: Matrix;
  B?: Matrix;
}

/** For each module its sides A and B in float32, and a line for every tensor that cannot be one. */
function collect(tensors: ReadonlyMap<string, StoredTensor>): { sides: Map<string, Sides>; odd: string[] } {
  const sides = new Map<string, Sides>();
  const odd: string[] = [];
  for (const [key, tensor] of tensors) {
    const names = KEY.exec(key)?.groups as { module: string; side: "A" | "B" } | undefined;
    const [rows, columns] = tensor.shape;
    if (names === undefined) {
      odd.push(`${key} is no LoRA factor`);
    } else if (tensor.shape.length !== 2 || rows === undefined || columns === undefined || !isFloat(tensor)) {
      odd.push(`${key} is ${tensor.dtype} ${show(tensor.shape)}, expected two dimensions of floats`);
    } else {
      const values = toFloat32(tensor);
      if (!areFinite(values)) odd.push(`${key} holds numbers that are not finite`);
      else sides.set(names.module, { ...sides.get(names.module), [names.side]: { rows, columns, values } });
    }
  }
  return { sides, odd };
}

function areFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += (values[index] as number) * 0; // NaN once one is not
  return sum === 0;
}

/** Both sides of a module, or why they are no pair of the given rank. */
function pair(sides: Sides, rank: number): { a: Matrix; b: Matrix } | string {
  const { A: a, B: b } = sides;
  if (a === undefined || b === undefined) return `lora_${a === undefined ? "A" : "B"} is missing`;
  if (a.rows === rank && b.columns === rank) return { a, b };
  return `ranks of A and B are ${a.rows} and ${b.columns}, the config says ${rank}`;
}

/** PEFT's rule: the first pattern that matches the end of the module name, else the default. */
function byPattern(config: Config, patternField: string, defaultField: string, module: string): number {
  for (const [pattern, value] of Object.entries(config[patternField] ?? {})) {
    if (endPattern(pattern)?.test(module)) return value as number;
  }
  return config[defaultField] as number;
}

function endPattern(pattern: string): RegExp | null {
  return compile(`^(.*\\.)?(${pattern})$`);
}

function compile(pattern: string): RegExp | null {
  try {
    return new RegExp(pattern);
  } catch {
    return null;
  }
}

function scalingOf(config: Config, module: string): number {
  const rank = byPattern(config, "rank_pattern", "r", module);
  const alpha = byPattern(config, "alpha_pattern", "lora_alpha", module);
  return alpha / (isEmpty(config.use_rslora) ? rank : Math.sqrt(rank));
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
