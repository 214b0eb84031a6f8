/**
 * Open an artifact in the page or worker that this runs in.
 *
 * Knows nothing about messages between pages and workers.
 */

import { throwIfAborted, untilAborted } from "../core/abort.js";
import type { AddressOptions } from "../core/address.js";
import { BackendError } from "../core/errors.js";
import { readManifest } from "../core/manifest.js";
import { type ForTask, type LoadOptions, loadModel, type ModelOf, type Wanted } from "../core/model.js";
import type { Backend } from "../core/ports.js";
import type { Place, SourceOptions, WebArtifact } from "./artifact.js";
import { bringOrt } from "./bring-ort.js";
import { type BackendChoice, browserFacts, chooseBackend, chooseInstead, type Wish } from "./choice.js";
import { openBackend, settleThreads } from "./onnxruntime.js";
import { openPlace, toSend } from "./open-place.js";
import { baseAddress, ortFolder } from "./place.js";

/** Options of `load` and `loadInWorker`. `hashes` hashes what the cache holds once more; downloads always are. */
export interface WebOptions extends LoadOptions, Wish, SourceOptions, Omit<AddressOptions, "fetch"> {
  /**
   * The folder where files of onnxruntime-web are served, those that `edgelora-ort` copies; `/ort/` where it is left out,
   * or that of the package beside this one where packages are served as they are.
   */
  readonly wasmPaths?: string | undefined;
}

/** A model, and what runs it. */
export type WebModel<Want extends Wanted = "text-generation"> = ModelOf<Want> & { readonly choice: BackendChoice };

/**
 * Download what is missing of the artifact at an address, or take that of a folder or files which the page was given,
 * check it, and open the model here. Throws ArtifactError for a damaged artifact,
 * ConnectionError where loading again goes on, BackendError where this device cannot run it. `task` is what the
 * artifact must be for.
 */
export async function load<Want extends Wanted = "text-generation">(
  place: Place,
  options: WebOptions & ForTask<Want> = {},
): Promise<WebModel<Want>> {
  const { signal } = options;
  throwIfAborted(signal);
  const source = await openPlace(await toSend(place, baseAddress()), options);
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
  source: WebArtifact,
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
    const folder = ortFolder(options.wasmPaths);
    await bringOrt(choice, folder, options);
    return openBackend(choice, facts, folder);
  };
  const fallback = (fault: BackendError) => {
    onWarning?.(`${fault.message.split("; ")[0]}; the model goes on in wasm`);
    return take(chooseInstead(facts, manifest, options, fault));
  };
  const open = async (backend: Backend): Promise<ModelOf<Want>> => {
    throwIfAborted(signal);
    const model = await loadModel(source, backend, options);
    if (choice.name === "webgpu") await (await import("./try-out.js")).tryOut(model, signal);
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
