/**
 * The configuration of a PEFT LoRA folder: what of it changes the answers, checked field by field.
 *
 * Knows nothing about factors. What would change the tensors or the base in a way that no slot can express is refused,
 * since ignoring it would give other answers silently.
 */

import type { Narrowing, Targets } from "./claims.js";
import { AdapterError } from "./errors.js";
import { isHash } from "./names.js";
import { joinSome, parseJson, show } from "./parse-json.js";
import { matchesEnding, PatternError, parsePattern } from "./patterns.js";

export const CONFIG_FILE = "adapter_config.json";
export const EXPECTED =
  "expected plain LoRA as PEFT saves it; `edgelora adapter convert` and `edgelora export --merge` take more kinds";

const PLAIN_TYPE = "LORA";
const DORA_TYPE = "EDGELORA_DORA"; // DoRA that was converted for a grid, which its field GRID_FIELD names
const GRID_FIELD = "edgelora_grid";
const LONGEST = 4 * 1024 * 1024; // bytes; one with a rank for each of thousands of modules has a tenth
const LARGEST_RANK = 65536;
const LARGEST_ALPHA = 1e6;
const MOST_PATTERNS = 4096;
const LONGEST_INVOCATION = 1024; // tokens
const LARGEST_TOKEN = 2 ** 31 - 1;
const REFUSED: readonly (readonly [string, string])[] = [
  ["use_dora", "DoRA"],
  ["lora_bias", "LoRA biases"],
  ["use_qalora", "QALoRA"],
  ["use_bdlora", "block-diagonal LoRA"],
  ["trainable_token_indices", "trained token embeddings (trainable_token_indices)"],
  ["target_parameters", "adapted bare parameters (target_parameters)"],
  ["layer_replication", "replicated layers (layer_replication)"],
  ["arrow_config", "Arrow routing"],
  ["kasa_config", "KaSA"],
  ["velora_config", "VeLoRA"],
  ["monteclora_config", "MonteCLoRA"],
];
const LIST_NAME = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;
const BASE_CHANGING_START = /^(pissa|olora|corda|loftq|lora_ga)/i;
const OTHER_START = /^(gaussian|eva|orthogonal|mica)$/i;
const READ = new Set([
  ...["peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules"],
  ...["modules_to_save", "bias", "init_lora_weights", "alora_invocation_tokens", GRID_FIELD],
  ...["layers_to_transform", "layers_pattern", "exclude_modules", ...REFUSED.map(([field]) => field)],
  // What says how it was trained, or for whom: PEFT's other fields.
  ...["auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config"],
  ...["fan_in_fan_out", "inference_mode", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config"],
  ...["megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type"],
]);

type Config = Readonly<Record<string, unknown>>;

/** LoRA. `targets` are `target_modules`, a pattern or endings; null where they name no modules. */
export interface LoraConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly isRankStabilized: boolean;
  readonly ranks: readonly (readonly [string, number])[]; // pattern and rank
  readonly alphas: readonly (readonly [string, number])[]; // pattern and alpha
  readonly targets: Targets | null;
  /** `modules_to_save`: those of a head, trained whole. */
  readonly saved: readonly string[];
  /** Fields that say something nobody here has heard of. */
  readonly unknown: readonly string[];
  /** `alora_invocation_tokens`: it acts from their last place in a prompt on; empty where it acts on every token. */
  readonly invocation: readonly number[];
  readonly narrowing: Narrowing;
  /** `base_model_name_or_path`: what it calls the base model; null where it calls it nothing. */
  readonly base: string | null;
  /** Of DoRA the grid that its gains were computed on, else null. */
  readonly grid: string | null;
}

/**
 * The configuration that `content` is; throws one AdapterError with everything that cannot be used. `withHead` reads
 * `modules_to_save`, which is refused elsewhere: only a head can be swapped whole.
 */
export function parseConfig(
  content: Uint8Array | string,
  where: string = CONFIG_FILE,
  withHead: boolean = false,
): LoraConfig {
  const found = parseJson(content, where, AdapterError, "save the adapter again", LONGEST);
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    throw new AdapterError(`${where} holds ${show(found)}, expected an object; save the adapter again`);
  }
  const config = found as Config;
  const saved = isEmpty(config.modules_to_save) ? [] : config.modules_to_save;
  const isDora = config.peft_type === DORA_TYPE;
  const wrong = [...refusals(config), ...wrongTypes(config), ...wrongNumbers(config)];
  if (!isEmpty(saved) && !withHead) {
    wrong.push("it uses fully trained modules (modules_to_save), which only the head of an encoder can be");
  } else if (!Array.isArray(saved) || !saved.every((name) => typeof name === "string" && name !== "")) {
    wrong.push(`modules_to_save is ${show(saved)}, expected a list of names`);
  }
  const invocation = isEmpty(config.alora_invocation_tokens) ? [] : config.alora_invocation_tokens;
  if (!Array.isArray(invocation) || invocation.length > LONGEST_INVOCATION || !invocation.every(isToken)) {
    wrong.push(`alora_invocation_tokens is ${show(invocation)}, expected at most ${LONGEST_INVOCATION} token ids`);
  }
  const grid = config[GRID_FIELD] ?? null;
  if (isDora && !(typeof grid === "string" && isHash(grid))) {
    wrong.push(`${GRID_FIELD} is ${show(grid)}, expected 64 lower-case hexadecimal digits`);
  }
  if (wrong.length > 0) {
    throw new AdapterError(`${where} cannot be used: ${joinSome(wrong)}; ${EXPECTED}`);
  }
  return {
    rank: config.r as number,
    alpha: config.lora_alpha as number,
    isRankStabilized: config.use_rslora === true,
    ranks: Object.entries((config.rank_pattern ?? {}) as Record<string, number>),
    alphas: Object.entries((config.alpha_pattern ?? {}) as Record<string, number>),
    targets: targetsOf(config),
    saved: saved as string[],
    unknown: Object.keys(config).filter((field) => !READ.has(field) && !isEmpty(config[field])),
    invocation: invocation as number[],
    narrowing: narrowingOf(config),
    base: typeof config.base_model_name_or_path === "string" ? config.base_model_name_or_path : null,
    grid: isDora ? (grid as string) : null,
  };
}

/** PEFT's rule: `tensor` lies in a module whose name ends with one of `saved`, behind a dot or not. */
export function isSaved(tensor: string, saved: readonly string[]): boolean {
  const path = tensor.split(".");
  const modules = path.slice(1).map((_, index) => path.slice(0, index + 1).join("."));
  return modules.some((module) => saved.some((name) => module.endsWith(name)));
}

/** PEFT's rule: the first pattern that matches the end of the module's name, else `r`. */
export function rankOf(config: LoraConfig, module: string): number {
  return config.ranks.find(([pattern]) => matchesEnding(pattern, module))?.[1] ?? config.rank;
}

/** Alpha over the rank, or over its root with `use_rslora`. */
export function scalingOf(config: LoraConfig, module: string, rank: number): number {
  const alpha = config.alphas.find(([pattern]) => matchesEnding(pattern, module))?.[1] ?? config.alpha;
  return alpha / (config.isRankStabilized ? Math.sqrt(rank) : rank);
}

function refusals(config: Config): string[] {
  const wrong: string[] = [];
  if (config.peft_type !== PLAIN_TYPE && config.peft_type !== DORA_TYPE) {
    wrong.push(`peft_type is ${show(config.peft_type)}, expected "${PLAIN_TYPE}"`);
  }
  for (const [field, words] of REFUSED) if (!isEmpty(config[field])) wrong.push(`it uses ${words}`);
  if (config.bias !== undefined && config.bias !== "none") {
    wrong.push(`bias is ${show(config.bias)}, expected "none"`);
  }
  const start = config.init_lora_weights;
  if (typeof start === "string" && BASE_CHANGING_START.test(start)) {
    wrong.push(
      `init_lora_weights is ${show(start)}, which changes the base; \`edgelora adapter convert\` takes that out`,
    );
  } else if (typeof start === "string" && !OTHER_START.test(start)) {
    wrong.push(`init_lora_weights is ${show(start)}, an unknown start, which may have changed the base`);
  }
  return wrong;
}

function wrongTypes(config: Config): string[] {
  const wrong: string[] = [];
  const refuse = (field: string, expected: string) =>
    wrong.push(`${field} is ${show(config[field])}, expected ${expected}`);
  if (!["boolean", "undefined"].includes(typeof (config.use_rslora ?? undefined))) {
    refuse("use_rslora", "true or false");
  }
  if (!["boolean", "string", "undefined"].includes(typeof (config.init_lora_weights ?? undefined))) {
    refuse("init_lora_weights", "true, false or text");
  }
  for (const field of ["target_modules", "exclude_modules", "layers_pattern"]) {
    const value = config[field] ?? "";
    if (typeof value !== "string" && !(Array.isArray(value) && value.every((item) => typeof item === "string"))) {
      refuse(field, "text or a list of texts");
    }
  }
  const layers = config.layers_to_transform ?? [];
  if (!(Array.isArray(layers) ? layers : [layers]).every(Number.isInteger)) {
    refuse("layers_to_transform", "whole numbers");
  }
  for (const field of ["target_modules", "exclude_modules"]) {
    const why = typeof config[field] === "string" ? patternProblem(config[field]) : null;
    if (why !== null) wrong.push(`${field}: ${why}`);
  }
  return wrong.length > 0 ? wrong : wrongLayers(config);
}

/** What PEFT itself does not open, of fields that are of the right types; and patterns where names stand. */
function wrongLayers(config: Config): string[] {
  const { layers, lists } = narrowingOf(config);
  const wrong: string[] = [];
  if (layers.length > 0 && typeof config.target_modules === "string") {
    const told = show(config.layers_to_transform);
    wrong.push(`layers_to_transform is ${told}, expected none where target_modules is a pattern`);
  }
  const told = `layers_pattern is ${show(config.layers_pattern)}, expected`;
  if (lists.length > 0 && layers.length === 0) wrong.push(`${told} layers_to_transform beside it`);
  if (!lists.every((name) => LIST_NAME.test(name))) wrong.push(`${told} names such as "layers"`);
  return wrong;
}

function wrongNumbers(config: Config): string[] {
  const wrong: string[] = [];
  for (const [field, patternField, problem] of [
    ["r", "rank_pattern", rankProblem],
    ["lora_alpha", "alpha_pattern", alphaProblem],
  ] as const) {
    const why = problem(config[field]);
    if (why !== null) wrong.push(`${field} ${why}`);
    const patterns = config[patternField] ?? null;
    if (patterns === null) continue;
    if (typeof patterns !== "object" || Array.isArray(patterns) || Object.keys(patterns).length > MOST_PATTERNS) {
      wrong.push(`${patternField} is ${show(patterns)}, expected an object of at most ${MOST_PATTERNS} patterns`);
      continue;
    }
    for (const [pattern, value] of Object.entries(patterns)) {
      const broken = patternProblem(pattern);
      if (broken !== null) wrong.push(`${patternField}: ${broken}`);
      const out = problem(value);
      if (out !== null) wrong.push(`${patternField} of ${show(pattern)} ${out}`);
    }
  }
  return wrong;
}

function patternProblem(pattern: string): string | null {
  try {
    parsePattern(pattern);
    return null;
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    return `the pattern ${show(pattern)} cannot be used: ${error.message}`;
  }
}

function rankProblem(value: unknown): string | null {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= LARGEST_RANK) return null;
  return `is ${show(value)}, expected a whole number from 1 to ${LARGEST_RANK}`;
}

function alphaProblem(value: unknown): string | null {
  if (typeof value === "number" && value > 0 && value <= LARGEST_ALPHA) return null;
  return `is ${show(value)}, expected a number above 0, at most ${LARGEST_ALPHA}`;
}

function isToken(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= LARGEST_TOKEN;
}

/** What Python takes for false, as PEFT writes "not used": null, false, 0, "", [] and {}. */
function isEmpty(value: unknown): boolean {
  return !value || (typeof value === "object" && Object.keys(value).length === 0);
}

function targetsOf(config: Config): Targets | null {
  const targets = (config.target_modules ?? null) as Targets | null;
  return targets === "all-linear" ? null : targets;
}

function narrowingOf(config: Config): Narrowing {
  const layers = (config.layers_to_transform ?? []) as number | number[];
  const lists = (config.layers_pattern || []) as string | string[];
  return {
    excluded: (config.exclude_modules || []) as Targets,
    layers: typeof layers === "number" ? [layers] : layers,
    lists: typeof lists === "string" ? [lists] : lists,
  };
}
