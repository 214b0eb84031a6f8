/**
 * The index of an artifact: read and check. `docs/format.md` is the format in words.
 *
 * Knows nothing about graphs or weights.
 */

import { findWrong, findWrongAdapter, findWrongFile } from "./check-manifest.js";
import { type EntryLines, fileLines, findLines, readAdapterLine, readFileLine, takeOut } from "./entry-lines.js";
import { ArtifactError } from "./errors.js";
import type { FolderSource } from "./files.js";
import {
  type AdapterInfo,
  type BaseInfo,
  type EncoderInfo,
  type FileInfo,
  FORMAT,
  FORMAT_VERSION,
  type GraphInfo,
  type HeadInfo,
  type HeadTensor,
  MANIFEST_FILE,
  type Manifest,
  type ModelInfo,
  PROBLEM_TYPES,
  type ProblemType,
  type Slot,
  TASKS,
  type Task,
  type TokenizerInfo,
} from "./format.js";
import { Fields, kind, objectAt } from "./json-fields.js";
import { listedEntries, NamedEntries } from "./listed.js";
import { decode, isFields, joinSome, parseJson, show } from "./parse-json.js";
import { isAdapterName } from "./spec.js";

const LONGEST = 32 * 1024 * 1024; // bytes; an artifact of a hundred layers and a hundred adapters has one

/** Parse and check `manifest.json`, every entry; throws ArtifactError naming the field that is wrong. */
export function parseManifest(content: Uint8Array | string, where: string = MANIFEST_FILE): Manifest {
  return readWhole(readRoot(content, where), where);
}

/**
 * Parse `manifest.json`, and check all of it but what it says of adapters besides their names. The entry of an adapter
 * and those of its files are checked when somebody asks for them, and throw ArtifactError then: an artifact with a
 * thousand adapters opens like one with three.
 */
export function openManifest(content: Uint8Array | string, where: string = MANIFEST_FILE): Manifest {
  try {
    const text = typeof content === "string" ? content : decode(content);
    const lines = content.length > LONGEST ? null : findLines(text);
    const data = lines && readRoot(lines.rest, where);
    if (data && takeOut(data) && areNames(lines.names)) return openLines(lines, data, text, where);
  } catch {} // the whole says what is wrong, and where
  return parseManifest(content, where);
}

type Json = Readonly<Record<string, unknown>>;

/** The manifest of `data`, whose other entries are in `lines` and are read when they are asked for. */
function openLines(lines: EntryLines, data: Json, text: string, where: string): Manifest {
  const base = readWhole(data, where);
  let whole: Json | null = null; // nothing but going through all files needs it
  const files: Manifest["files"] = new NamedEntries(base.files, {
    names: () => {
      whole ??= readRoot(text, where).files as Json;
      return Object.keys(whole);
    },
    has: (name) => (whole === null ? fileLines(lines, name).length > 0 : Object.hasOwn(whole, name)),
    read: (name) => {
      const entry = whole === null ? readFileLine(lines, name, where) : whole[name];
      const info = readFileInfo(objectAt(entry, () => `${where}: files: ${show(name)}`));
      refuse(findWrongFile(name, info), where);
      return info;
    },
  });
  const adapters = listedEntries(lines.names.length, (index) => {
    const entry = readAdapterLine(lines, index, where);
    const info = readAdapterInfo(objectAt(entry, () => `${where}: adapters[${index}]`));
    refuse(findWrongAdapter(index, info, { ...base, files }), where);
    return info;
  });
  return { ...base, adapterNames: lines.names, adapters, files };
}

function readRoot(content: Uint8Array | string, where: string): Json {
  const data = parseJson(content, where, ArtifactError, "export the artifact again", LONGEST);
  if (!isFields(data) || data.format !== FORMAT) {
    const found = isFields(data) ? show(data.format) : kind(data);
    throw new ArtifactError(`${where}: format is ${found}, expected "${FORMAT}"; this is no EdgeLoRA artifact`);
  }
  const version = data.format_version;
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1) {
    throw new ArtifactError(`${where}: format_version is ${show(version)}, expected a whole number from 1`);
  }
  if (version > FORMAT_VERSION) {
    throw new ArtifactError(
      `${where}: format_version ${version} is newer than ${FORMAT_VERSION}, the newest this runtime reads; ` +
        "update @edgelora/runtime",
    );
  }
  return data;
}

function readWhole(data: Json, where: string): Manifest {
  const root = new Fields(data, () => where);
  const manifest: Manifest = {
    producer: root.text("producer"),
    target: root.text("target"),
    task: root.plainOr<Task>("task", TASKS[0], "text"), // its value is checked below
    model: readModel(root.object("model")),
    graph: readGraph(root.object("graph")),
    encoder: root.isSet("encoder") ? readEncoder(root.object("encoder")) : null,
    base: readBase(root.object("base")),
    slots: root.list("slots").map(readSlot),
    adapterNames: [],
    adapters: root.list("adapters").map(readAdapterInfo),
    files: new Map(
      root
        .object("files")
        .entries()
        .map(([name, info]) => [name, readFileInfo(info)]),
    ),
    tokenizer: root.isSet("tokenizer") ? readTokenizerInfo(root.object("tokenizer")) : null,
    reference: root.textOrNull("reference"),
    formatVersion: root.whole("format_version"),
    record: data,
  };
  for (const name of ["quantization", "report"]) if (root.raw(name) !== undefined) root.object(name);
  if (root.isSet("merged")) root.object("merged");
  refuse(findWrong(manifest), where);
  return { ...manifest, adapterNames: manifest.adapters.map(({ name }) => name) };
}

function refuse(wrong: Iterable<string>, where: string): void {
  const told = joinSome([...wrong]);
  if (told !== "") throw new ArtifactError(`${where}: ${told}; export the artifact again`);
}

function areNames(names: readonly string[]): boolean {
  return new Set(names).size === names.length && names.every(isAdapterName);
}

/** The manifest of an artifact, as `openManifest` reads it; throws ArtifactError when it is missing or wrong. */
export async function readManifest(source: FolderSource): Promise<Manifest> {
  const where = `${source.where}/${MANIFEST_FILE}`;
  if (!(await source.has(MANIFEST_FILE))) {
    throw new ArtifactError(
      `${source.where} has no ${MANIFEST_FILE}; expected an artifact written by \`edgelora export\``,
    );
  }
  return openManifest(await source.bytes(MANIFEST_FILE), where);
}

function readModel(data: Fields): ModelInfo {
  return {
    name: data.text("name"),
    architecture: data.text("architecture"),
    vocabSize: data.whole("vocab_size"),
    numLayers: data.whole("num_layers"),
    numKvHeads: data.whole("num_kv_heads"),
    headDim: data.whole("head_dim"),
    contextLength: data.whole("context_length"),
    eosTokenIds: data.wholes("eos_token_ids"),
  };
}

function readGraph(data: Fields): GraphInfo {
  const kvCache = data.plainOr<string>("kv_cache", "float32", "text");
  if (kvCache !== "float32" && kvCache !== "int8") throw data.wrong("kv_cache", '"float32" or "int8"', kvCache);
  return {
    file: data.text("file"),
    weights: data.text("weights"),
    withoutSlots: data.textOrNull("without_slots"),
    fused: data.textOrNull("fused"),
    kvCache,
  };
}

function readEncoder(data: Fields): EncoderInfo {
  return {
    inputs: data.texts("inputs"),
    output: data.text("output"),
    hiddenSize: data.whole("hidden_size"),
    head: data.raw("head") === undefined ? [] : data.list("head").map(readHeadTensor),
    headFile: data.textOrNull("head_file"),
    baseHead: readHead(data, "base_head"),
    oneAdapter: data.plainOr("one_adapter", false, "true or false"),
    imageSize: data.raw("image_size") === undefined ? [] : data.wholes("image_size"),
  };
}

function readHeadTensor(data: Fields): HeadTensor {
  return { tensor: data.text("tensor"), input: data.text("input"), sizes: data.wholes("sizes") };
}

/** The head in the field `name`; the values of what it says are checked with those of the whole manifest. */
function readHead(parent: Fields, name: string): HeadInfo | null {
  if (!parent.isSet(name)) return null;
  const data = parent.object(name);
  return {
    labels: data.texts("labels"),
    problemType: data.plainOr<ProblemType>("problem_type", PROBLEM_TYPES[0], "text"),
    temperature: data.plainOr("temperature", 1, "a number"),
  };
}

function readBase(data: Fields): BaseInfo {
  return {
    fingerprint: data.text("fingerprint"),
    grid: data.text("grid"),
    source: data.textOrNull("source"),
    license: data.textOrNull("license"),
  };
}

function readSlot(data: Fields): Slot {
  return {
    name: data.text("name"),
    a: data.text("a"),
    b: data.text("b"),
    gain: data.textOrNull("gain"),
    inFeatures: data.whole("in_features"),
    outFeatures: data.whole("out_features"),
    parts: data.list("parts").map((part) => ({
      module: part.text("module"),
      offset: part.whole("offset"),
      outFeatures: part.whole("out_features"),
    })),
  };
}

function readAdapterInfo(data: Fields): AdapterInfo {
  const store = data.plainOr<string>("store", "float32", "text");
  if (store !== "float32" && store !== "float16" && store !== "int8") {
    throw data.wrong("store", '"float32", "float16" or "int8"', store);
  }
  const head = readHead(data, "head");
  return {
    name: data.text("name"),
    path: data.text("path"),
    rank: data.whole("rank"),
    store,
    head,
    shared: data.textOrNull("shared"),
    title: data.textOrNull("title"),
    description: data.textOrNull("description"),
    examples: data.raw("examples") === undefined ? [] : data.texts("examples"),
    license: data.textOrNull("license"),
  };
}

function readFileInfo(data: Fields): FileInfo {
  const info = { bytes: data.whole("bytes"), sha256: data.text("sha256") };
  if (!data.isSet("pieces")) return info;
  const pieces = data.object("pieces");
  return { ...info, pieces: { size: pieces.whole("size"), sha256: pieces.texts("sha256") } };
}

function readTokenizerInfo(data: Fields): TokenizerInfo {
  return {
    file: data.text("file"),
    chatTemplate: data.textOrNull("chat_template"),
    bosToken: data.textOrNull("bos_token"),
    eosToken: data.textOrNull("eos_token"),
    padToken: data.textOrNull("pad_token"),
    unkToken: data.textOrNull("unk_token"),
    templateVariables: data.raw("template_variables") === undefined ? {} : data.object("template_variables").plain,
  };
}
