/**
 * What a manifest says, as the runtime has it: names, shapes, files. `docs/format.md` is the format in words.
 *
 * Knows nothing about how a manifest is read or checked.
 */

export const FORMAT = "edgelora";
export const FORMAT_VERSION = 1;
export const MANIFEST_FILE = "manifest.json";
/** Of every adapter's folder, and of nothing else. */
export const ADAPTER_FOLDER = "adapters/";

/** The output columns of a slot that one module of the checkpoint owns: `offset` to `offset + outFeatures`. */
export interface SlotPart {
  readonly module: string;
  readonly offset: number;
  readonly outFeatures: number;
}

/** A place in the graph where an adapter plugs in; `a`, `b` and `gain` name its graph inputs. */
export interface Slot {
  readonly name: string;
  /** Input (n, in_features, rank). */
  readonly a: string;
  /** Input (n, rank, out_features). */
  readonly b: string;
  /** Input (n, 1, out_features) where DoRA has a place, else null. */
  readonly gain: string | null;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly parts: readonly SlotPart[];
}

/** What a graph is for; all but `text-generation` read a text, or an image, once and keep no KV cache. */
export const TASKS = [
  "text-generation",
  "text-classification",
  "token-classification",
  "feature-extraction",
  "image-classification",
] as const;
export type Task = (typeof TASKS)[number];

/** How logits become scores, in transformers' words: softmax, a sigmoid for each, the numbers themselves. */
export const PROBLEM_TYPES = ["single_label_classification", "multi_label_classification", "regression"] as const;
export type ProblemType = (typeof PROBLEM_TYPES)[number];

/** What the outputs of a head mean: `labels` in the order of its rows; logits are divided by `temperature` first. */
export interface HeadInfo {
  readonly labels: readonly string[];
  readonly problemType: ProblemType;
  readonly temperature: number;
}

/** A tensor of the head, fed as a slot is: two `sizes` (out, in) as (n, in, out), one as (n, 1, size). */
export interface HeadTensor {
  /** Its name in the checkpoint. */
  readonly tensor: string;
  /** Of the graph. */
  readonly input: string;
  /** Those of the checkpoint; 0 is the number of labels. */
  readonly sizes: readonly number[];
}

/** What a runtime must know of a graph without a KV cache to drive it. */
export interface EncoderInfo {
  /** Beside slots and head: `input_ids` and `attention_mask`, or `pixel_values`. */
  readonly inputs: readonly string[];
  /** `logits`, or `embeddings`. */
  readonly output: string;
  readonly hiddenSize: number;
  readonly head: readonly HeadTensor[];
  /** What the base itself has of the head, a safetensors file. */
  readonly headFile: string | null;
  /** Null where the base has no whole head, so that only adapters can answer. */
  readonly baseHead: HeadInfo | null;
  /** Rows of a call share an adapter: some slots act on what no row owns. */
  readonly oneAdapter: boolean;
  /** Channels, height, width; empty where there are no images. */
  readonly imageSize: readonly number[];
}

/** What a runtime must know of the model to drive it; what has no KV cache has 0 for its three sizes. */
export interface ModelInfo {
  readonly name: string;
  readonly architecture: string;
  readonly vocabSize: number;
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly contextLength: number;
  readonly eosTokenIds: readonly number[];
}

/** The graph file, the one file its initializers live in, and its twins over that file: without slots, and fused. */
export interface GraphInfo {
  readonly file: string;
  readonly weights: string;
  readonly withoutSlots: string | null;
  /** For devices that load native operators; nothing here opens it. */
  readonly fused: string | null;
  readonly kvCache: CacheType;
}

/** The type of the numbers that a graph keeps in the KV cache; int8 has its steps in the graph. */
export type CacheType = "float32" | "int8";

/** Tokenizer file, chat template file and the special tokens that templates ask for. */
export interface TokenizerInfo {
  readonly file: string;
  readonly chatTemplate: string | null;
  readonly bosToken: string | null;
  readonly eosToken: string | null;
  readonly padToken: string | null;
  readonly unkToken: string | null;
  /** What the template gets beside messages and tools, unless a call says otherwise. */
  readonly templateVariables: Readonly<Record<string, unknown>>;
}

/** Identity of the base: `fingerprint` of its float32 weights, `grid` of the values that were shipped. */
export interface BaseInfo {
  readonly fingerprint: string;
  readonly grid: string;
  /** For people: where it is from, such as owner/name@revision. */
  readonly source: string | null;
  readonly license: string | null;
}

/** One adapter of the artifact: a PEFT folder at `path`, its factors rounded as `store` says. */
export interface AdapterInfo {
  readonly name: string;
  readonly path: string;
  readonly rank: number;
  readonly store: "float32" | "float16" | "int8";
  /** What its head means, null where it brings none. */
  readonly head: HeadInfo | null;
  /** SHA-256 (hex) of a file beside its folder with factors that other adapters may have too, null where it has none. */
  readonly shared: string | null;
  /** For people, as what follows. */
  readonly title: string | null;
  readonly description: string | null;
  /** Texts to give it. */
  readonly examples: readonly string[];
  readonly license: string | null;
}

/** SHA-256 (hex) of each `size` bytes of a file in their order; the last piece may be shorter. */
export interface Pieces {
  readonly size: number;
  readonly sha256: readonly string[];
}

/** Size and SHA-256 (hex) of one file, and of its pieces where it has more than one. */
export interface FileInfo {
  readonly bytes: number;
  readonly sha256: string;
  readonly pieces?: Pieces | null;
}

/** What a runtime acts on; the records for people stay in `record`, as the file has them. */
export interface Manifest {
  readonly producer: string;
  readonly target: string;
  readonly task: Task;
  readonly model: ModelInfo;
  readonly graph: GraphInfo;
  /** Null for generation, there for every other task. */
  readonly encoder: EncoderInfo | null;
  readonly base: BaseInfo;
  readonly slots: readonly Slot[];
  /** In the order of `adapters`; no entry is read for them. */
  readonly adapterNames: readonly string[];
  /** Each may be read when it is first looked at, and throws ArtifactError then where it is wrong. */
  readonly adapters: readonly AdapterInfo[];
  /** Likewise those of adapters. */
  readonly files: ReadonlyMap<string, FileInfo>;
  readonly tokenizer: TokenizerInfo | null;
  /** A safetensors file of what PyTorch answered; runtimes do not read it. */
  readonly reference: string | null;
  readonly formatVersion: number;
  /** The file as JSON, `adapters` and their `files` left out: `quantization`, `report`, `merged` and what else it says. */
  readonly record: Readonly<Record<string, unknown>>;
}

/** Whether logits can be divided by it. */
export function isTemperature(value: unknown): boolean {
  return typeof value === "number" && value >= 1e-6 && value <= 1e6;
}
