/**
 * The index of an artifact: read and check. `docs/format.md` is the format in words.
 *
 * Knows nothing about graphs or weights.
 */

import { findWrong } from "./check-manifest.js";
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
import { isFields, joinSome, parseJson, show } from "./parse-json.js";

const LONGEST = 32 * 1024 * 1024; // bytes; an artifact of a hundred layers and a hundred adapters has one

/** Parse and check `manifest.json`; throws ArtifactError naming the field that is wrong. */
export function parseManifest(content: Uint8Array | string, where: string = MANIFEST_FILE): Manifest {
  const data = parseJson(content, where, ArtifactError, "export the artifact again", LONGEST);
  const root = new Fields(data, () => where);
  if (!root.isObject || root.raw("format") !== FORMAT) {
    const found = root.isObject ? show(root.raw("format")) : kind(data);
    throw new ArtifactError(`${where}: format is ${found}, expected "${FORMAT}"; this is no EdgeLoRA artifact`);
  }
  const version = root.raw("format_version");
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1) {
    throw new ArtifactError(`${where}: format_version is ${show(version)}, expected a whole number from 1`);
  }
  if (version > FORMAT_VERSION) {
    throw new ArtifactError(
      `${where}: format_version ${version} is newer than ${FORMAT_VERSION}, the newest this runtime reads; ` +
        "update @edgelora/runtime",
    );
  }
  const manifest: Manifest = {
    producer: root.text("producer"),
    target: root.text("target"),
    task: root.plainOr<Task>("task", TASKS[0], "text"), // its value is checked below
    model: readModel(root.object("model")),
    graph: readGraph(root.object("graph")),
    encoder: root.isSet("encoder") ? readEncoder(root.object("encoder")) : null,
    base: readBase(root.object("base")),
    slots: root.list("slots").map(readSlot),
    adapters: root.list("adapters").map(readAdapterInfo),
    files: new Map(
      root
        .object("files")
        .entries()
        .map(([name, info]) => [name, readFileInfo(info)]),
    ),
    tokenizer: root.isSet("tokenizer") ? readTokenizerInfo(root.object("tokenizer")) : null,
    reference: root.textOrNull("reference"),
    formatVersion: version,
    record: data as Record<string, unknown>,
  };
  for (const name of ["quantization", "report"]) if (root.raw(name) !== undefined) root.object(name);
  if (root.isSet("merged")) root.object("merged");
  const wrong = joinSome(findWrong(manifest));
  if (wrong !== "") throw new ArtifactError(`${where}: ${wrong}; export the artifact again`);
  return manifest;
}

/** The manifest of an artifact; throws ArtifactError when it is missing or wrong. */
export async function readManifest(source: FolderSource): Promise<Manifest> {
  const where = `${source.where}/${MANIFEST_FILE}`;
  if (!(await source.has(MANIFEST_FILE))) {
    throw new ArtifactError(
      `${source.where} has no ${MANIFEST_FILE}; expected an artifact written by \`edgelora export\``,
    );
  }
  return parseManifest(await source.bytes(MANIFEST_FILE), where);
}

/** One JSON object whose fields are read by name and type; every complaint names the field. */
class Fields {
  readonly isObject: boolean;
  readonly #data: Readonly<Record<string, unknown>>;
  readonly #where: () => string;

  /** `where` makes the words only for a complaint: there may be thousands of objects. */
  constructor(data: unknown, where: () => string) {
    this.isObject = isFields(data);
    this.#data = isFields(data) ? data : {};
    this.#where = where;
  }

  get where(): string {
    return this.#where();
  }

  /** The object as JSON has it. */
  get plain(): Readonly<Record<string, unknown>> {
    return this.#data;
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.#data, name) ? this.#data[name] : undefined;
  }

  isSet(name: string): boolean {
    return (this.raw(name) ?? null) !== null;
  }

  text(name: string): string {
    const value = this.#present(name);
    if (typeof value !== "string") throw this.wrong(name, "text", value);
    return value;
  }

  textOrNull(name: string): string | null {
    return this.isSet(name) ? this.text(name) : null;
  }

  /** A value of a type that `typeof` tells, `otherwise` where the field is left out. */
  plainOr<Value extends number | boolean | string>(name: string, otherwise: Value, words: string): Value {
    const value = this.raw(name) === undefined ? otherwise : this.raw(name);
    if (typeof value !== typeof otherwise) throw this.wrong(name, words, value);
    return value as Value;
  }

  whole(name: string): number {
    return wholeNumber(this.#present(name), () => `${this.where}: ${name}`);
  }

  list(name: string): Fields[] {
    return this.#array(name).map((item, index) => objectAt(item, () => `${this.where}: ${name}[${index}]`));
  }

  wholes(name: string): number[] {
    return this.#array(name).map((item, index) => wholeNumber(item, () => `${this.where}: ${name}[${index}]`));
  }

  texts(name: string): string[] {
    return this.#array(name).map((item, index) => {
      if (typeof item !== "string") throw this.wrong(`${name}[${index}]`, "text", item);
      return item;
    });
  }

  object(name: string): Fields {
    return objectAt(this.#present(name), () => `${this.where}: ${name}`);
  }

  entries(): [string, Fields][] {
    return Object.entries(this.#data).map(([name, item]) => [
      name,
      objectAt(item, () => `${this.where}: ${show(name)}`),
    ]);
  }

  #array(name: string): unknown[] {
    const value = this.#present(name);
    if (!Array.isArray(value)) throw this.wrong(name, "a list", value);
    return value;
  }

  #present(name: string): unknown {
    const value = this.raw(name);
    if (value === undefined) throw new ArtifactError(`${this.where}: field "${name}" is missing`);
    return value;
  }

  wrong(name: string, expected: string, found: unknown): ArtifactError {
    return new ArtifactError(`${this.where}: ${name}: expected ${expected}, found ${show(found)}`);
  }
}

function objectAt(data: unknown, where: () => string): Fields {
  const fields = new Fields(data, where);
  if (!fields.isObject) throw new ArtifactError(`${where()}: expected an object, found ${kind(data)}`);
  return fields;
}

function wholeNumber(value: unknown, where: () => string): number {
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw new ArtifactError(`${where()}: expected a whole number, found ${show(value)}`);
  }
  return value;
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

function kind(data: unknown): string {
  if (data === null) return "null";
  return Array.isArray(data) ? "a list" : `a ${typeof data}`;
}
