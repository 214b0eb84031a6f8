/**
 * What a manifest must hold to beyond the types of its fields: ranges, hashes, safe names, slots without gaps.
 *
 * Knows nothing about JSON or files; `docs/format.md` ("What a reader refuses") lists the same rules in words.
 */

import {
  type AdapterInfo,
  type FileInfo,
  type HeadInfo,
  isTemperature,
  type Manifest,
  PROBLEM_TYPES,
  TASKS,
} from "./format.js";
import { findUnsafe, hasControl, isHash, isVariable, sharedPath } from "./names.js";
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
const SMALLEST_PIECE = 1 << 16; // bytes: worth a hash of their own
const LARGEST_PIECE = 1 << 26; // and little enough to hold in memory
const LARGEST_HEAD = 65536; // labels
const LARGEST_IMAGE = 65536; // channels, height, width
const [GENERATION, , , EMBEDDING, IMAGES] = TASKS;

/** Every field whose value a runtime could not use, with what was expected. */
export function findWrong(manifest: Manifest): string[] {
  if (!TASKS.includes(manifest.task)) return [`task is ${show(manifest.task)}, expected one of ${TASKS.join(", ")}`];
  const wrong = [...checkModel(manifest), ...checkFiles(manifest), ...checkSlots(manifest)];
  wrong.push(...checkAdapters(manifest), ...checkEncoder(manifest));
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

function* checkModel({ model, base, task }: Manifest): Generator<string> {
  yield* count("model: context_length", model.contextLength, "context_length");
  const { vocabSize: vocab_size, numLayers: num_layers, numKvHeads: num_kv_heads, headDim: head_dim } = model;
  const sizes = { vocab_size, num_layers, num_kv_heads, head_dim };
  for (const field of Object.keys(sizes) as (keyof typeof sizes)[]) {
    const value = sizes[field];
    const isThere = task === GENERATION || (field === "vocab_size" && task !== IMAGES);
    if (isThere) yield* count(`model: ${field}`, value, field);
    else if (value !== 0) yield `model: ${field} is ${value}, expected 0 for the task ${task}`;
  }
  for (const [index, token] of model.eosTokenIds.entries()) {
    if (token < 0 || token >= model.vocabSize) {
      const expected = `expected an id below the ${model.vocabSize} of the vocabulary`;
      yield `model: eos_token_ids[${index}] is ${token}, ${expected}`;
    }
  }
  yield* hash("base: fingerprint", base.fingerprint);
  yield* hash("base: grid", base.grid);
}

/** What is wrong of one entry of `files`. */
export function* findWrongFile(name: string, info: FileInfo): Generator<string> {
  const why = findUnsafe(name);
  if (why !== null) yield `files: ${show(name)} ${why}`;
  else if (name === "manifest.json") yield 'files: "manifest.json" is listed in itself';
  if (!Number.isSafeInteger(info.bytes) || info.bytes < 0) {
    yield `files: ${show(name)}: bytes is ${info.bytes}, expected 0 to ${Number.MAX_SAFE_INTEGER}`;
  }
  // There may be thousands of files: what names one is made where something is wrong.
  if (!isHash(info.sha256)) yield* hash(`files: ${show(name)}: sha256`, info.sha256);
  if (info.pieces) yield* checkPieces(`files: ${show(name)}: pieces`, info);
}

function* checkFiles(manifest: Manifest): Generator<string> {
  for (const [name, info] of manifest.files) yield* findWrongFile(name, info);
  const { graph, tokenizer } = manifest;
  const named: Record<string, string | null | undefined> = {
    "graph: file": graph.file,
    "graph: weights": graph.weights,
    "graph: without_slots": graph.withoutSlots,
    "graph: fused": graph.fused,
    "tokenizer: file": tokenizer?.file,
    "tokenizer: chat_template": tokenizer?.chatTemplate,
    reference: manifest.reference,
    "encoder: head_file": manifest.encoder?.headFile,
  };
  for (const [field, name] of Object.entries(named)) {
    if (name !== null && name !== undefined) yield* listed(field, name, manifest);
  }
}

function* checkPieces(field: string, { bytes, pieces }: FileInfo): Generator<string> {
  if (!pieces) return;
  const { size, sha256 } = pieces;
  const count = Math.ceil(bytes / size);
  if (size < SMALLEST_PIECE || size > LARGEST_PIECE) {
    yield `${field}: size is ${size}, expected ${SMALLEST_PIECE} to ${LARGEST_PIECE}`;
  } else if (sha256.length !== count) {
    yield `${field}: ${sha256.length} hashes, expected ${count} for ${bytes} bytes`;
  }
  for (const [index, text] of sha256.entries()) yield* hash(`${field}: sha256[${index}]`, text);
}

/** What is wrong of one entry of `adapters`. */
export function* findWrongAdapter(index: number, info: AdapterInfo, manifest: Manifest): Generator<string> {
  const where = `adapters[${index}]`;
  if (!isAdapterName(info.name)) yield `${where}: name ${show(info.name)} is no adapter name`;
  if (info.path !== `adapters/${info.name}`) {
    yield `${where}: path is ${show(info.path)}, expected "adapters/" and the name`;
  } else {
    for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
      yield* listed(`${where}: path`, `${info.path}/${file}`, manifest);
    }
  }
  // A head alone has no factors.
  if (info.rank !== 0 || info.head === null) yield* count(`${where}: rank`, info.rank, "rank");
  if (info.shared !== null) {
    yield* hash(`${where}: shared`, info.shared);
    yield* listed(`${where}: shared`, sharedPath(info.shared), manifest);
  }
  yield* checkHead(`${where}: head`, info.head, manifest);
}

function* checkAdapters(manifest: Manifest): Generator<string> {
  for (const [index, info] of manifest.adapters.entries()) yield* findWrongAdapter(index, info, manifest);
  yield* twice(
    "adapters: name",
    manifest.adapters.map((info) => info.name),
  );
}

function* checkSlots({ slots, encoder }: Manifest): Generator<string> {
  for (const [index, slot] of slots.entries()) {
    const where = `slots[${index}]`;
    yield* count(`${where}: in_features`, slot.inFeatures, "in_features");
    yield* count(`${where}: out_features`, slot.outFeatures, "out_features");
    for (const field of ["name", "a", "b", "gain"] as const) {
      const text = slot[field];
      if (text !== null) yield* named(`${where}: ${field} is`, text);
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
  const driven = encoder === null ? DRIVEN : [...encoder.inputs, ...encoder.head.map((item) => item.input)];
  yield* twice("slots: input", [
    ...driven,
    ...slots.flatMap(({ a, b, gain }) => (gain === null ? [a, b] : [a, b, gain])),
  ]);
  yield* twice(
    "slots: module",
    slots.flatMap((slot) => slot.parts.map((part) => part.module)),
  );
}

/** What is wrong of a graph without a KV cache; every task but generation has one. */
function* checkEncoder(manifest: Manifest): Generator<string> {
  const { encoder, task } = manifest;
  if ((encoder === null) !== (task === GENERATION)) {
    yield `encoder is ${encoder === null ? "null" : "an object"}, which does not go with the task ${task}`;
  }
  if (encoder === null) return;
  const isImages = task === IMAGES;
  const inputs = isImages ? ["pixel_values"] : ["input_ids", "attention_mask"];
  if (show(encoder.inputs) !== show(inputs)) {
    yield `encoder: inputs are ${show(encoder.inputs)}, expected ${inputs.join(", ")}`;
  }
  const output = task === EMBEDDING ? "embeddings" : "logits";
  if (encoder.output !== output) yield `encoder: output is ${show(encoder.output)}, expected ${output}`;
  yield* count("encoder: hidden_size", encoder.hiddenSize, "in_features");
  const sizes = encoder.imageSize;
  if (sizes.length !== (isImages ? 3 : 0) || !sizes.every((size) => size >= 1 && size <= LARGEST_IMAGE)) {
    yield `encoder: image_size is ${show(sizes)}, expected ${isImages ? "three" : "no"} counts`;
  }
  if (encoder.head.length > 0 === (task === EMBEDDING)) {
    yield `encoder: head has ${encoder.head.length} tensors, which does not go with the task ${task}`;
  }
  for (const [index, item] of encoder.head.entries()) {
    const where = `encoder: head[${index}]`;
    for (const field of ["tensor", "input"] as const) yield* named(`${where}: ${field} is`, item[field]);
    const isCount = (size: number) => size >= 0 && size <= LARGEST.in_features;
    if (item.sizes.length < 1 || item.sizes.length > 2 || !item.sizes.every(isCount)) {
      yield `${where}: sizes are ${show(item.sizes)}, expected one or two counts, 0 for the labels`;
    }
  }
  yield* twice(
    "encoder: tensor",
    encoder.head.map((item) => item.tensor),
  );
  if (encoder.baseHead !== null && encoder.headFile === null) {
    yield "encoder: base_head is there, but head_file with its tensors is not";
  }
  yield* checkHead("encoder: base_head", encoder.baseHead, manifest);
}

/** What is wrong of the labels of a head; a model that has no head has no labels. */
function* checkHead(where: string, head: HeadInfo | null, { encoder }: Manifest): Generator<string> {
  if (head === null) return;
  const { labels, problemType, temperature } = head;
  if (encoder === null || encoder.head.length === 0) yield `${where} has labels, but the model has no head`;
  if (labels.length < 1 || labels.length > LARGEST_HEAD) {
    yield `${where}: ${labels.length} labels, expected 1 to ${LARGEST_HEAD}`;
  }
  for (const [index, label] of labels.entries()) yield* named(`${where}: labels[${index}] is`, label);
  yield* twice(`${where}: label`, labels);
  if (!PROBLEM_TYPES.includes(problemType)) {
    yield `${where}: problem_type is ${show(problemType)}, expected one of ${PROBLEM_TYPES.join(", ")}`;
  }
  if (!isTemperature(temperature)) {
    yield `${where}: temperature is ${show(temperature)}, expected 0.000001 to 1000000`;
  }
}

function* named(told: string, name: string): Generator<string> {
  if (name === "" || hasControl(name)) yield `${told} ${show(name)}, expected a name without control characters`;
}

function* listed(field: string, name: string, manifest: Manifest): Generator<string> {
  if (manifest.files.has(name)) return; // whose names are looked at as files
  const why = findUnsafe(name);
  yield `${field}: ${show(name)} ${why ?? "is not listed in files"}`;
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
