/**
 * What a receipt must hold to, field by field; `docs/format.md` ("Receipt") says what the fields mean.
 *
 * Knows nothing about artifacts or factors. What is missing or null is unknown, and nothing is wrong with that.
 */

import { isTemperature, PROBLEM_TYPES } from "./format.js";
import { hasControl, isHash } from "./names.js";
import { isFields, show } from "./parse-json.js";

type Fields = Readonly<Record<string, unknown>>;

const OBJECTS = ["quantization", "training", "merge", "truncation", "parents", "conversion"];
const MOST_TOKENS = 65536; // of a probe
const STEP = /^[1-9][0-9]{0,8}$/; // a rank that energy is told up to

/** Every field that cannot be used, with what was expected. */
export function findWrong(receipt: Fields): string[] {
  return [
    ...checkBase(receipt.base as Fields),
    ...OBJECTS.filter((field) => !isFields(receipt[field] ?? {})).map(
      (field) => `${field} is ${show(receipt[field])}, expected an object or null`,
    ),
    ...hash("weights", receipt.weights),
    ...checkModules(receipt.modules ?? null),
    ...checkLayers(receipt.layers ?? null),
    ...checkList("probes", receipt.probes ?? null, checkProbe),
    ...checkHead(receipt.head ?? null),
    ...checkList("answers", receipt.answers ?? null, checkAnswer),
  ];
}

function* checkBase(base: Fields): Generator<string> {
  const name = base.name ?? "";
  if (typeof name !== "string" || hasControl(name)) {
    yield `base: name is ${show(name)}, expected text without control characters`;
  }
  if ((base.fingerprint ?? null) === null) yield "base: fingerprint is missing";
  for (const field of ["fingerprint", "grid", "tokenizer", "chat_template"]) {
    yield* hash(`base: ${field}`, base[field]);
  }
}

function* checkModules(modules: unknown): Generator<string> {
  if (modules === null) return;
  if (!isFields(modules)) {
    yield `modules is ${show(modules)}, expected an object or null`;
    return;
  }
  for (const field of ["matched", "expected"]) {
    if (!isCount(modules[field])) yield `modules: ${field} is ${show(modules[field])}, expected a whole number from 0`;
  }
  const missing = modules.missing ?? [];
  if (!Array.isArray(missing) || !missing.every((item) => typeof item === "string" && !hasControl(item))) {
    yield `modules: missing is ${show(missing)}, expected a list of names`;
  }
}

function* checkLayers(layers: unknown): Generator<string> {
  if (layers === null) return;
  if (!isFields(layers)) {
    yield `layers is ${show(layers)}, expected an object or null`;
    return;
  }
  for (const [module, layer] of Object.entries(layers)) {
    const where = `layers: ${show(module)}`;
    if (hasControl(module) || !isFields(layer)) {
      yield `${where} is ${show(layer)}, expected an object under the name of a module`;
      continue;
    }
    if (!isCount(layer.rank)) yield `${where}: rank is ${show(layer.rank)}, expected a whole number from 0`;
    const { energy } = layer;
    const isShare = ([step, share]: [string, unknown]) => STEP.test(step) && typeof share === "number";
    if (!isFields(energy) || !Object.entries(energy).every(isShare)) {
      yield `${where}: energy is ${show(energy)}, expected shares by rank`;
    }
    if (typeof layer.effective_rank !== "number") {
      yield `${where}: effective_rank is ${show(layer.effective_rank)}, expected a number`;
    }
    for (const field of ["step_to_delta", "codes_changed", "correlation"]) {
      if (typeof (layer[field] ?? 0) !== "number") {
        yield `${where}: ${field} is ${show(layer[field])}, expected a number or null`;
      }
    }
  }
}

function* checkList(field: string, items: unknown, check: typeof checkProbe): Generator<string> {
  if (items === null) return;
  if (!Array.isArray(items)) {
    yield `${field} is ${show(items)}, expected a list or null`;
    return;
  }
  for (const [index, item] of items.entries()) yield* check(`${field}[${index}]`, item);
}

function* checkProbe(where: string, probe: unknown): Generator<string> {
  if (!isFields(probe)) {
    yield `${where} is ${show(probe)}, expected an object`;
    return;
  }
  const { text, input_ids: ids, kl } = probe;
  if (typeof (text ?? "") !== "string") yield `${where}: text is ${show(text)}, expected text or null`;
  if (!areIds(ids) || ids.length === 0) yield `${where}: input_ids is ${show(ids)}, expected token ids`;
  for (const field of ["greedy", "base_greedy"]) {
    if (!areIds(probe[field] === undefined ? [] : probe[field])) {
      yield `${where}: ${field} is ${show(probe[field])}, expected token ids`;
    }
  }
  if (typeof kl !== "number" || kl < 0) yield `${where}: kl is ${show(kl)}, expected a number from 0`;
  for (const field of ["base", "adapted"]) {
    const { ids: top, logprobs } = (isFields(probe[field]) ? probe[field] : {}) as Fields;
    const isRight = areIds(top) && top.length > 0 && areLogprobs(logprobs) && logprobs.length === top.length;
    if (!isRight) {
      yield `${where}: ${field} needs ids and logprobs, lists of one length of token ids and numbers up to 0`;
    }
  }
}

function* checkHead(head: unknown): Generator<string> {
  if (head === null) return;
  const { labels, problem_type: problem, temperature } = (isFields(head) ? head : {}) as Fields;
  if (!Array.isArray(labels) || labels.length === 0) {
    yield `head is ${show(head)}, expected an object with a list of labels, or null`;
    return;
  }
  if (!labels.every((label) => typeof label === "string" && label !== "" && !hasControl(label))) {
    yield `head: labels are ${show(labels)}, expected names without control characters`;
  } else if (new Set(labels).size !== labels.length) {
    yield "head: a label stands twice";
  }
  if (problem !== undefined && !(PROBLEM_TYPES as readonly unknown[]).includes(problem)) {
    yield `head: problem_type is ${show(problem)}, expected one of ${PROBLEM_TYPES.join(", ")}`;
  }
  if (temperature !== undefined && !isTemperature(temperature)) {
    yield `head: temperature is ${show(temperature)}, expected 0.000001 to 1000000`;
  }
}

function* checkAnswer(where: string, answer: unknown): Generator<string> {
  if (!isFields(answer)) {
    yield `${where} is ${show(answer)}, expected an object`;
    return;
  }
  const { text, input_ids: ids, output, base } = answer;
  if (typeof (text ?? "") !== "string") yield `${where}: text is ${show(text)}, expected text or null`;
  if (!areIds(ids) || ids.length === 0) yield `${where}: input_ids is ${show(ids)}, expected token ids`;
  if (!areNumbers(output) || !areNumbers(base)) {
    yield `${where} needs output and base, lists of numbers`;
  } else if (output.length === 0 || output.length !== base.length) {
    yield `${where}: output has ${output.length} numbers, base ${base.length}; expected as many, at least one`;
  }
}

function* hash(field: string, value: unknown): Generator<string> {
  if ((value ?? null) !== null && !(typeof value === "string" && isHash(value))) {
    yield `${field} is ${show(value)}, expected 64 lower-case hexadecimal digits or null`;
  }
}

function isCount(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
}

function areIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= MOST_TOKENS && value.every(isCount);
}

function areNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === "number");
}

function areLogprobs(value: unknown): value is number[] {
  // A probability that float32 rounds above 1 is one.
  return Array.isArray(value) && value.every((item) => typeof item === "number" && item <= 1e-3);
}
