/**
 * What a manifest must hold to beyond the types of its fields: ranges, hashes, safe names, slots without gaps.
 *
 * Knows nothing about JSON or files; `docs/format.md` ("What a reader refuses") lists the same rules in words.
 */

import type { Manifest, Slot } from "./format.js";
import { findUnsafe, hasControl, isHash, isVariable } from "./names.js";
import { show } from "./parse-json.js";
import { isAdapterName } from "./spec.js";

const DRIVEN = ["input_ids", "seqlens_k", "total_sequence_length", "logits_positions"]; // inputs of every graph
// Beyond all models that there are, and small enough that nothing which is made of them ends a device.
const LARGEST = {
  vocab_size: 2 ** 24,
  num_layers: 4096,
  num_kv_heads: 65536,
  head_dim: 65536,
  context_length: 2 ** 31 - 1,
  in_features: 2 ** 24,
  out_features: 2 ** 24,
  rank: 65536,
} as const;

/** Every field whose value a runtime could not use, with what was expected. */
export function findWrong(manifest: Manifest): string[] {
  const wrong = [...checkModel(manifest), ...checkFiles(manifest), ...checkSlots(manifest.slots)];
  wrong.push(...checkAdapters(manifest));
  for (const name of Object.keys(manifest.tokenizer?.templateVariables ?? {})) {
    if (isVariable(name)) continue;
    wrong.push(`tokenizer: template_variables: ${show(name)} is no name of a variable that can be set`);
  }
  const { producer, target, model } = manifest;
  const texts = { producer, target, "model: name": model.name, "model: architecture": model.architecture };
  for (const [field, text] of Object.entries(texts)) {
    if (hasControl(text)) wrong.push(`${field}: ${show(text)} holds a control character`);
  }
  return wrong;
}

function* checkModel({ model, base }: Manifest): Generator<string> {
  yield* count("model: vocab_size", model.vocabSize, "vocab_size");
  yield* count("model: num_layers", model.numLayers, "num_layers");
  yield* count("model: num_kv_heads", model.numKvHeads, "num_kv_heads");
  yield* count("model: head_dim", model.headDim, "head_dim");
  yield* count("model: context_length", model.contextLength, "context_length");
  for (const [index, token] of model.eosTokenIds.entries()) {
    if (token < 0 || token >= model.vocabSize) {
      const expected = `expected an id below the ${model.vocabSize} of the vocabulary`;
      yield `model: eos_token_ids[${index}] is ${token}, ${expected}`;
    }
  }
  yield* hash("base: fingerprint", base.fingerprint);
  yield* hash("base: grid", base.grid);
}

function* checkFiles(manifest: Manifest): Generator<string> {
  for (const [name, info] of manifest.files) {
    const why = findUnsafe(name);
    if (why !== null) yield `files: ${show(name)} ${why}`;
    else if (name === "manifest.json") yield 'files: "manifest.json" is listed in itself';
    if (!Number.isSafeInteger(info.bytes) || info.bytes < 0) {
      yield `files: ${show(name)}: bytes is ${info.bytes}, expected 0 to ${Number.MAX_SAFE_INTEGER}`;
    }
    yield* hash(`files: ${show(name)}: sha256`, info.sha256);
  }
  const { graph, tokenizer } = manifest;
  const named: Record<string, string | null | undefined> = {
    "graph: file": graph.file,
    "graph: weights": graph.weights,
    "graph: without_slots": graph.withoutSlots,
    "graph: fused": graph.fused,
    "tokenizer: file": tokenizer?.file,
    "tokenizer: chat_template": tokenizer?.chatTemplate,
    reference: manifest.reference,
  };
  for (const [field, name] of Object.entries(named)) {
    if (name !== null && name !== undefined) yield* listed(field, name, manifest);
  }
}

function* checkAdapters(manifest: Manifest): Generator<string> {
  for (const [index, info] of manifest.adapters.entries()) {
    const where = `adapters[${index}]`;
    if (!isAdapterName(info.name)) yield `${where}: name ${show(info.name)} is no adapter name`;
    if (info.path !== `adapters/${info.name}`) {
      yield `${where}: path is ${show(info.path)}, expected "adapters/" and the name`;
    } else {
      for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
        yield* listed(`${where}: path`, `${info.path}/${file}`, manifest);
      }
    }
    yield* count(`${where}: rank`, info.rank, "rank");
  }
  yield* twice(
    "adapters: name",
    manifest.adapters.map((info) => info.name),
  );
}

function* checkSlots(slots: readonly Slot[]): Generator<string> {
  for (const [index, slot] of slots.entries()) {
    const where = `slots[${index}]`;
    yield* count(`${where}: in_features`, slot.inFeatures, "in_features");
    yield* count(`${where}: out_features`, slot.outFeatures, "out_features");
    for (const field of ["name", "a", "b"] as const) {
      if (slot[field] === "" || hasControl(slot[field])) {
        yield `${where}: ${field} is ${show(slot[field])}, expected a name without control characters`;
      }
    }
    let end = 0;
    let hasGap = false;
    for (const [number, part] of slot.parts.entries()) {
      const place = `${where}: parts[${number}]`;
      if (part.module === "" || hasControl(part.module)) {
        yield `${place}: module is ${show(part.module)}, expected the name of a module`;
      }
      yield* count(`${place}: out_features`, part.outFeatures, "out_features");
      hasGap = part.offset !== end;
      if (hasGap) {
        yield `${place}: offset is ${part.offset}, expected ${end}`;
        break;
      }
      end += part.outFeatures;
    }
    if (!hasGap && end !== slot.outFeatures) {
      yield `${where}: parts end at ${end}, expected out_features ${slot.outFeatures}`;
    }
  }
  yield* twice(
    "slots: name",
    slots.map((slot) => slot.name),
  );
  yield* twice("slots: input", [...DRIVEN, ...slots.flatMap((slot) => [slot.a, slot.b])]);
  yield* twice(
    "slots: module",
    slots.flatMap((slot) => slot.parts.map((part) => part.module)),
  );
}

function* listed(field: string, name: string, manifest: Manifest): Generator<string> {
  const why = findUnsafe(name);
  if (why !== null) yield `${field}: ${show(name)} ${why}`;
  else if (!manifest.files.has(name)) yield `${field}: ${show(name)} is not listed in files`;
}

function* hash(field: string, text: string): Generator<string> {
  if (!isHash(text)) yield `${field} is ${show(text)}, expected 64 lower-case hexadecimal digits`;
}

function* count(field: string, value: number, kind: keyof typeof LARGEST): Generator<string> {
  if (value < 1 || value > LARGEST[kind]) yield `${field} is ${value}, expected 1 to ${LARGEST[kind]}`;
}

function* twice(field: string, names: readonly string[]): Generator<string> {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) yield `${field} ${show(name)} stands twice`;
    seen.add(name);
  }
}
