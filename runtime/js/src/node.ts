/**
 * The runtime in Node: artifacts in folders, on onnxruntime-node or, without native code, on onnxruntime-web's wasm.
 *
 * Knows nothing about tokens; the core does the work.
 */

import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AddressOptions, askingFor, isRemote } from "./core/address.js";
import { productsOverflow } from "./core/byte-products.js";
import { inPlaceCache, returnedCache } from "./core/cache.js";
import { ArtifactError, InputError } from "./core/errors.js";
import { fetchedFolder } from "./core/fetched-folder.js";
import { checkFiles, type FolderSource, lazyFolder } from "./core/files.js";
import type { FileInfo, Manifest } from "./core/format.js";
import { lazyModels } from "./core/lazy-models.js";
import { type ForTask, type LoadOptions, loadModel, type ModelOf, type Wanted } from "./core/model.js";
import type { Models } from "./core/models.js";
import { baseFiles, filesOfBase, neededFiles } from "./core/needed-files.js";
import { show } from "./core/parse-json.js";
import type { ArtifactSource, Backend, Capabilities, GraphSource, Ort } from "./core/ports.js";
import type { BringOptions } from "./core/stored-models.js";

export * from "./core/index.js";

/** Artifacts of servers that are kept in `folder`. */
export function modelsIn(folder: string): Models {
  return lazyModels(async () => (await import("./node/cache.js")).modelsIn(folder));
}

/** Those in the folder that `load` keeps them in. */
export const models: Models = lazyModels(async () => (await import("./node/cache.js")).modelsIn());

const ALWAYS_HASHED_BYTES = 4 << 20; // hashing a small file costs nothing beside loading; weights are hashed on demand
const MAX_DEFAULT_THREADS = 4; // more only add waiting on small models

const NATIVE: Capabilities = Object.freeze({
  name: "onnxruntime-node, CPU",
  allowsRankZero: true,
  loadsByPathOnly: false,
  cache: "in-steps",
  cacheLocation: "cpu",
  hasInt8Cache: true,
});

const WASM: Capabilities = Object.freeze({
  name: "onnxruntime-web, wasm in Node",
  allowsRankZero: true,
  loadsByPathOnly: false,
  cache: "returned",
  cacheLocation: "cpu",
  hasInt8Cache: true,
});

/** Options of `load`. */
export interface NodeLoadOptions extends LoadOptions, Omit<BringOptions, "checkRoom"> {
  /** Threads of a run; by default the physical cores, at most four. */
  readonly threads?: number | undefined;
  /** "native", the default, is onnxruntime-node; "wasm" is onnxruntime-web and needs no native code. */
  readonly runtime?: "native" | "wasm" | undefined;
  /** Where artifacts of servers are kept; EDGELORA_CACHE, or the system's folder for what can be had again. */
  readonly cache?: string | undefined;
  /** Told what is not as it was asked for. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

let wasmThreads: number | null = null; // of the process: the first model in wasm decides

/**
 * Open an artifact: a folder (a path or its `file:` address), or one of a server, `https://...` or `hf:owner/name@revision`, of which what is missing is
 * downloaded first and kept. `headers` and the like are for servers alone. Sizes and small files are always checked; `hashes` reads every byte of the weights too. Throws
 * ArtifactError for a damaged artifact, AdapterError naming the adapter that is not what its receipt says (`probe`).
 * `task` is what the artifact must be for.
 */
export async function load<Want extends Wanted = "text-generation">(
  location: string | URL,
  options: NodeLoadOptions & ForTask<Want> = {},
): Promise<ModelOf<Want>> {
  const { threads = defaultThreads(), runtime = "native" } = options;
  if (!Number.isInteger(threads) || threads < 1) {
    throw new InputError(`threads is ${show(threads)}, expected a whole number from 1`);
  }
  if (runtime !== "native" && runtime !== "wasm") {
    throw new InputError(`runtime is "${runtime}", expected "native" or "wasm"`);
  }
  const source = await open(asPath(String(location)), runtime === "native", options);
  try {
    const backend = runtime === "native" ? await nativeBackend(threads) : await wasmBackend(threads, options.onWarning);
    return await loadModel(source, backend, options);
  } catch (error) {
    source.close?.();
    throw error;
  }
}

async function open(location: string, byPath: boolean, options: NodeLoadOptions): Promise<ArtifactSource> {
  if (isRemote(location)) {
    const { hubOptions, modelsIn } = await import("./node/cache.js"); // a folder needs none of it
    const { folder: path, close } = await modelsIn(options.cache).open(location, options);
    const asking = { ...options, ...hubOptions(location, options) };
    const source = artifactIn(path, byPath, (name) => folderAt(name, location, asking));
    const prepare = (manifest: Manifest, hashes: boolean) =>
      // The others were not downloaded.
      source.prepare({ ...manifest, files: hashes ? neededFiles(manifest) : baseFiles(manifest) }, hashes);
    return { ...source, prepare, close };
  }
  if (!(await stat(location).catch(() => null))?.isDirectory()) {
    throw new ArtifactError(`${location} is not a folder; expected an artifact written by \`edgelora export\``);
  }
  return artifactIn(location, byPath, (name) => folderAt(name, location, {}));
}

/** A `file:` address as the path that it is; others as they are. */
function asPath(location: string): string {
  return location.startsWith("file:") ? fileURLToPath(location) : location;
}

/** A folder of the disk or of a server, for a model of the artifact at `location`. */
function folderAt(name: string, location: string, asking: AddressOptions): FolderSource {
  if (!isRemote(name)) return folder(asPath(name));
  const digest = async (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  return lazyFolder(name, async (watch) => {
    const { hubOptions } = await import("./node/cache.js");
    const own = askingFor(name, location, asking);
    return fetchedFolder(name, digest, { ...own, ...hubOptions(name, own) }, watch);
  });
}

/** A folder on the disk, for `model.loadAdapter`; a path does as well. */
export function folder(path: string): FolderSource {
  return {
    where: path,
    has: async (name) => (await stat(join(path, name)).catch(() => null))?.isFile() ?? false,
    bytes: async (name) => {
      try {
        return await readFile(join(path, name));
      } catch (error) {
        throw new ArtifactError(
          `${path}/${name} cannot be read (${(error as Error).message}); copy or export it again`,
        );
      }
    },
    sha256: async (name) => {
      const hash = createHash("sha256");
      for await (const part of createReadStream(join(path, name))) hash.update(part as Buffer);
      return hash.digest("hex");
    },
  };
}

function artifactIn(path: string, byPath: boolean, at: ArtifactSource["folder"]): ArtifactSource {
  const source = folder(path);
  const check = (files: ReadonlyMap<string, FileInfo>, hashes = false) =>
    checkFiles(path, files, async (name, expected) => {
      const found = await stat(join(path, name)).catch(() => null);
      if (!found?.isFile()) return null;
      const isHashed = found.size === expected.bytes && (hashes || found.size <= ALWAYS_HASHED_BYTES);
      return { bytes: found.size, sha256: isHashed ? await source.sha256(name) : null };
    });
  return {
    ...source,
    folder: at,
    prepare: ({ files }, hashes) => check(hashes ? files : filesOfBase(files), hashes),
    prepareAdapter: (files) => check(files),
    graph: async (graph, weights): Promise<GraphSource> => {
      if (byPath) return { model: join(path, graph) };
      const data = await source.bytes(weights);
      return { model: await source.bytes(graph), externalData: [{ path: weights, data }] };
    },
  };
}

async function nativeBackend(threads: number): Promise<Backend> {
  const ort: Ort = await imported(
    "onnxruntime-node",
    () => import(/* webpackIgnore: true */ /* turbopackIgnore: true */ "onnxruntime-node"),
  );
  // A warning for each of hundreds of slot inputs helps nobody.
  const extra = {
    // The joined node of a sum and its norm takes four times as long as the two of them.
    optimization: { disable_specified_optimizers: "SkipLayerNormFusion" },
    // Weights lose their sign as they are loaded.
    ...((await productsOverflow(ort)) ? { session: { x64quantprecision: "1" } } : {}),
  };
  const sessionOptions = { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3, extra };
  return { ort, capabilities: NATIVE, sessionOptions, makeCache: inPlaceCache };
}

async function wasmBackend(threads: number, onWarning: NodeLoadOptions["onWarning"]): Promise<Backend> {
  const ort = await imported(
    "onnxruntime-web",
    () => import(/* webpackIgnore: true */ /* turbopackIgnore: true */ "onnxruntime-web"),
  );
  wasmThreads ??= threads;
  if (wasmThreads !== threads) {
    onWarning?.(
      `onnxruntime-web was started with ${wasmThreads} threads for the first model of this process, not with the ` +
        `${threads} of this one; load models in processes of their own to give each its threads`,
    );
  }
  ort.env.wasm.numThreads = wasmThreads;
  const sessionOptions = { executionProviders: ["wasm"], logSeverityLevel: 3 };
  return { ort: ort satisfies Ort, capabilities: WASM, sessionOptions, makeCache: returnedCache };
}

async function imported<Package>(name: string, load: () => Promise<Package>): Promise<Package> {
  try {
    return await load();
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new InputError(`the package ${name} is not installed; run: npm install ${name}`);
  }
}

/** Physical cores that this process may use, at most four. */
function defaultThreads(): number {
  const siblings = new Set<string>();
  for (let cpu = 0; cpu < availableParallelism(); cpu++) {
    try {
      siblings.add(readFileSync(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`, "ascii"));
    } catch {
      siblings.add(String(cpu)); // not Linux, or hidden: count logical cores
    }
  }
  return Math.max(1, Math.min(siblings.size, MAX_DEFAULT_THREADS));
}
