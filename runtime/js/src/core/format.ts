/**
 * What a manifest says, as the runtime has it: names, shapes, files. `docs/format.md` is the format in words.
 *
 * Knows nothing about how a manifest is read or checked.
 */

export const FORMAT = "edgelora";
export const FORMAT_VERSION = 1;
export const MANIFEST_FILE = "manifest.json";

/** The output columns of a slot that one module of the checkpoint owns: `offset` to `offset + outFeatures`. */
export interface SlotPart {
  readonly module: string;
  readonly offset: number;
  readonly outFeatures: number;
}

/** A place in the graph where an adapter plugs in; `a` and `b` name its graph inputs. */
export interface Slot {
  readonly name: string;
  /** Input (n, in_features, rank). */
  readonly a: string;
  /** Input (n, rank, out_features). */
  readonly b: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly parts: readonly SlotPart[];
}

/** What a runtime must know of the decoder to drive it. */
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
}

/** One adapter of the artifact: a PEFT folder at `path`, its factors rounded as `store` says. */
export interface AdapterInfo {
  readonly name: string;
  readonly path: string;
  readonly rank: number;
  readonly store: "float32" | "float16" | "int8";
}

/** Size and SHA-256 (hex) of one file. */
export interface FileInfo {
  readonly bytes: number;
  readonly sha256: string;
}

/** What a runtime acts on; the records for people stay in `record`, as the file has them. */
export interface Manifest {
  readonly producer: string;
  readonly target: string;
  readonly model: ModelInfo;
  readonly graph: GraphInfo;
  readonly base: BaseInfo;
  readonly slots: readonly Slot[];
  readonly adapters: readonly AdapterInfo[];
  readonly files: ReadonlyMap<string, FileInfo>;
  readonly tokenizer: TokenizerInfo | null;
  /** A safetensors file of what PyTorch answered; runtimes do not read it. */
  readonly reference: string | null;
  readonly formatVersion: number;
  /** The whole file as JSON: `quantization`, `report`, `merged` and what else it says. */
  readonly record: Readonly<Record<string, unknown>>;
}
