/**
 * The runtime in a browser: artifacts at an address, kept in the browser's cache, on onnxruntime-web.
 *
 * Knows nothing about tokens; the core does the work.
 */

import { lazyModels } from "./core/lazy-models.js";
import type { ForTask, Wanted } from "./core/model.js";
import type { Models } from "./core/models.js";
import type { Place } from "./web/artifact.js";
import type { WebOptions } from "./web/load.js";
import { openStore } from "./web/open-store.js";
import { openRemote, type RemoteOf } from "./web/remote.js";
import { startWorker, type WorkerSource } from "./web/start-worker.js";

export * from "./core/index.js";
export { ADAPTER_FILES } from "./core/needed-files.js";
export type { DirectoryHandle, Place, Progress, RoomOptions } from "./web/artifact.js";
export type { BackendChoice } from "./web/choice.js";
export { filesFolder } from "./web/folders.js";
export { load, type WebModel, type WebOptions } from "./web/load.js";
export type { RemoteEncoder, RemoteModel, RemoteOf } from "./web/remote.js";
export type { WorkerSource } from "./web/start-worker.js";

/** The artifacts that this origin's store has. */
export const models: Models = lazyModels(async () => new (await import("./web/later.js")).WebModels(await openStore()));

/** Options of `loadInWorker`. */
export interface InWorkerOptions extends WebOptions {
  /**
   * A worker that runs `@edgelora/runtime/worker`, or what starts one: for a policy that has no `blob:` in `worker-src`.
   * It is ended with the model.
   */
  readonly worker?: WorkerSource | undefined;
}

/** Open an artifact in a Web Worker, so that the page never waits: the model's methods are those of `load`'s. */
export async function loadInWorker<Want extends Wanted = "text-generation">(
  place: Place,
  options: InWorkerOptions & ForTask<Want> = {},
): Promise<RemoteOf<Want>> {
  const { worker, ...rest } = options;
  return openRemote(await startWorker(worker), place, rest);
}
