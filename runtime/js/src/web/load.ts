/**
 * Open an artifact at an address in the page or worker that this runs in.
 *
 * Knows nothing about messages between pages and workers.
 */

import { throwIfAborted, untilAborted } from "../core/abort.js";
import type { AddressOptions } from "../core/address.js";
import { BackendError } from "../core/errors.js";
import { readManifest } from "../core/manifest.js";
import { type ForTask, type LoadOptions, loadModel, type ModelOf, type Wanted } from "../core/model.js";
import type { Backend } from "../core/ports.js";
import { type BackendChoice, browserFacts, chooseBackend, chooseInstead, type Wish } from "./choice.js";
import { openBackend, settleThreads } from "./onnxruntime.js";
import { baseAddress, ortFolder } from "./place.js";
import { type LoadWatcher, openSource, type WebSource } from "./source.js";
import { tryOut } from "./try-out.js";

/** Options of `load` and `loadInWorker`. `hashes` hashes what the cache holds once more; downloads always are. */
export interface WebOptions extends LoadOptions, Wish, LoadWatcher, Omit<AddressOptions, "fetch"> {
  /**
   * The folder where files of onnxruntime-web are served, those that `edgelora-ort` copies; `/ort/` where it is left out,
   * or that of the package beside this one where packages are served as they are.
   */
  readonly wasmPaths?: string | undefined;
}

/** A model, and what runs it. */
export type WebModel<Want extends Wanted = "text-generation"> = ModelOf<Want> & { readonly choice: BackendChoice };

/** The whole of an address; `base` is what a relative one starts from. */
export function absolute(address: string, base: string): string {
  return new URL(address, base).href;
}

/**
 * Download what is missing, check it, and open the model here. Throws ArtifactError for a damaged artifact,
 * ConnectionError where loading again goes on, BackendError where this device cannot run it. `task` is what the
 * artifact must be for.
 */
export async function load<Want extends Wanted = "text-generation">(
  address: string,
  options: WebOptions & ForTask<Want> = {},
): Promise<WebModel<Want>> {
  const { signal } = options;
  throwIfAborted(signal);
  const source = await openSource(absolute(address, baseAddress()), options);
  try {
    const model = await untilAborted(openModel(source, options), signal, (late) => late.dispose());
    source.detach();
    return model;
  } catch (error) {
    source.close();
    throw error;
  }
}

async function openModel<Want extends Wanted>(
  source: WebSource,
  options: WebOptions & ForTask<Want>,
): Promise<WebModel<Want>> {
  const { signal, onWarning } = options;
  const manifest = await readManifest(source);
  const facts = await browserFacts();
  throwIfAborted(signal);
  const chosen = chooseBackend(facts, manifest, options);
  const mayFallBack = chosen.choice.name === "webgpu" && (options.fallback ?? options.backend === undefined);
  let { choice } = chosen;
  const take = async (found: typeof chosen) => {
    for (const warning of found.warnings) onWarning?.(warning);
    choice = settleThreads(found.choice, onWarning);
    return openBackend(choice, facts, ortFolder(options.wasmPaths));
  };
  const fallback = (fault: BackendError) => {
    onWarning?.(`${fault.message.split("; ")[0]}; the model goes on in wasm`);
    return take(chooseInstead(facts, manifest, options, fault));
  };
  const open = async (backend: Backend): Promise<ModelOf<Want>> => {
    throwIfAborted(signal);
    const model = await loadModel(source, backend, options);
    if (choice.name === "webgpu") await tryOut(model, signal);
    return model;
  };
  const backend = await take(chosen);
  let model: ModelOf<Want>;
  try {
    model = await open(mayFallBack ? { ...backend, fallback } : backend);
  } catch (error) {
    if (!mayFallBack || choice.name !== "webgpu" || !(error instanceof BackendError)) throw error;
    model = await open(await fallback(error));
  }
  return Object.defineProperty(model, "choice", { get: () => choice, enumerable: true }) as WebModel<Want>;
}
