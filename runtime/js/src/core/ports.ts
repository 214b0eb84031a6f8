/**
 * What the core needs of the place that it runs in: an onnxruntime package, what it can do there, and an artifact's files.
 *
 * Imports no onnxruntime: `onnxruntime-node`, `onnxruntime-web` and `onnxruntime-react-native` all fit `Ort` as they are.
 */

import type { BackendError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { FileInfo, Manifest } from "./format.js";

/** Where the memory of a tensor lies, in onnxruntime's words. */
export type Location = "cpu" | "cpu-pinned" | "gpu-buffer";

/** A tensor of whichever package made it; tensors of one package cannot be fed to another. */
export interface Tensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly location: string;
  /** Throws where `location` is not "cpu". */
  readonly data: unknown;
  /** Frees memory that is not JavaScript's; harmless elsewhere. */
  dispose(): void;
}

/** Inputs or outputs by name. A null output asks onnxruntime for new memory. */
export type Feeds = Record<string, Tensor>;
export type Fetches = Record<string, Tensor | null>;

/** What a graph says of an input or output; sizes that it leaves open are names. */
export interface ValueMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

/** A loaded graph. */
export interface InferenceSession {
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
  run(feeds: Feeds): Promise<Readonly<Record<string, Tensor>>>;
  run(feeds: Feeds, fetches: Fetches): Promise<Readonly<Record<string, Tensor>>>;
  release(): Promise<void>;
}

/** External data as `InferenceSession.create` takes it: the name in the graph, and an address, a path or the bytes. */
export interface ExternalData {
  readonly path: string;
  readonly data: string | Uint8Array;
}

/** Options of `InferenceSession.create`; entry files give those of their package. */
export type SessionOptions = Readonly<Record<string, unknown>>;

/** The three names of an onnxruntime package that the runtime uses; `import * as ort` satisfies it. */
export interface Ort {
  readonly Tensor: {
    new (type: "float32", data: Float32Array, dims: readonly number[]): Tensor;
    new (type: "int64", data: BigInt64Array, dims: readonly number[]): Tensor;
    new (type: "int32", data: Int32Array, dims: readonly number[]): Tensor;
    new (type: "int8", data: Int8Array, dims: readonly number[]): Tensor;
    new (type: "uint8", data: Uint8Array, dims: readonly number[]): Tensor;
  };
  readonly InferenceSession: {
    create(path: string, options?: SessionOptions): Promise<InferenceSession>;
    create(bytes: Uint8Array, options?: SessionOptions): Promise<InferenceSession>;
  };
  readonly env: object;
}

/** What an execution provider in one package can do; frozen facts, one record for each place the runtime runs in. */
export interface Capabilities {
  /** For people: "onnxruntime-node, CPU". */
  readonly name: string;
  /** False where empty slot inputs are refused (WebGPU): no adapter is then zeros of rank 1. */
  readonly allowsRankZero: boolean;
  /** True where a session from bytes loses its options (React Native): `ArtifactSource.graph` must give a path. */
  readonly loadsByPathOnly: boolean;
  /**
   * `in-place`: past and present are the same memory with room to grow, given as outputs as well, so nothing is copied.
   * `in-steps`: the same where outputs that have memory are copied once more on the way back (onnxruntime-node): room to
   * grow is then paid for in every step, so it grows little by little instead of doubling.
   * `returned`: onnxruntime makes a new present in each step, which becomes the next past.
   */
  readonly cache: "in-place" | "in-steps" | "returned";
  /** Where the KV cache of `returned` lies; anything but "cpu" is asked for as `preferredOutputLocation`. */
  readonly cacheLocation: Location;
  /** Whether attention can keep keys and values in 8 bits. */
  readonly hasInt8Cache: boolean;
  /** Tokens of one row that a call takes at most where that is fewer than the core would give. */
  readonly longestCall?: number;
}

/** One cache for all layers. What lies beyond the positions in use is overwritten and means nothing. */
export interface KvCache {
  /** Begin `rows` empty rows. */
  start(rows: number): void;
  /** Make room for `total` positions, keeping the first `used`. */
  reserve(total: number, used: number): void;
  /** Put the past among the inputs, and among the outputs where the present has a place already. */
  feed(feeds: Feeds, fetches: Fetches): void;
  /** Take the present from what a run gave, as the past of the next. */
  take(results: Readonly<Record<string, Tensor>>): void;
  dispose(): void;
}

/** What an entry file gives its backend, so that an app carries the kind that it uses alone. */
export type MakeCache = (backend: Backend, manifest: Manifest) => KvCache;

/**
 * One place to run in: a package, what it can do, and how sessions are made there. Entry files build it.
 *
 * The core gives every tensor an ArrayBuffer of its own: onnxruntime-react-native reads a view from the start of its
 * buffer.
 */
export interface Backend {
  readonly ort: Ort;
  readonly capabilities: Capabilities;
  /** Providers, threads and the like; the core adds `externalData` and `preferredOutputLocation`. */
  readonly sessionOptions: SessionOptions;
  /** `inPlaceCache` or `returnedCache`, as `capabilities.cache` says. */
  readonly makeCache: MakeCache;
  /**
   * Put the numbers of a slot input where they stay between runs (a GPU buffer). Without it they are tensors over
   * JavaScript memory. `dims` hold no 0 where `allowsRankZero` is false.
   */
  readonly place?: (data: Float32Array, dims: readonly number[]) => Tensor;
  /**
   * Another place, where the model is opened again when this one loses its device or computes no numbers. Whoever gives
   * it tells the user.
   */
  readonly fallback?: (fault: BackendError) => Promise<Backend>;
}

/** How graph and weights reach `InferenceSession.create`. */
export interface GraphSource {
  readonly model: string | Uint8Array;
  /** Left out where `model` is a path beside which onnxruntime finds the weights itself. */
  readonly externalData?: readonly ExternalData[];
}

/** An artifact. */
export interface ArtifactSource extends FolderSource {
  /**
   * Called once, after the manifest was read and before anything else is: makes sure that the files are there and are
   * those of the manifest (downloads them first where they are far away), comparing sizes, and hashes where `hashes`.
   * Throws one ArtifactError that lists every difference; `checkFiles` does it for sources that can look.
   */
  prepare(manifest: Manifest, hashes: boolean): Promise<void>;
  /** The same for these files of one adapter, before it is first read, where `prepare` leaves that for later. */
  prepareAdapter?(files: ReadonlyMap<string, FileInfo>): Promise<void>;
  /** `graph` and `weights` are file names of the manifest. Asked for when a session is made, and not kept. */
  graph(graph: string, weights: string): Promise<GraphSource>;
  /** Another folder, as one writes it in this place: a path, an address. */
  folder(location: string): FolderSource;
  /** Called when nothing of the artifact is read any more. */
  close?(): void;
}
