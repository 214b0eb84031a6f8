/**
 * The runtime in a browser: artifacts at an address, kept in the browser's cache, on onnxruntime-web.
 *
 * Knows nothing about tokens; the core does the work.
 */

import type { ForTask, Wanted } from "./core/model.js";
import type { WebOptions } from "./web/load.js";
import { openRemote, type RemoteOf } from "./web/remote.js";

export * from "./core/index.js";
export type { BackendChoice } from "./web/choice.js";
export { filesFolder } from "./web/folders.js";
export { load, type WebModel, type WebOptions } from "./web/load.js";
export type { RemoteEncoder, RemoteModel, RemoteOf } from "./web/remote.js";
export type { Progress } from "./web/source.js";

/**
 * Open an artifact in a Web Worker, so that the page never waits: the model's methods are those of `load`'s. `worker`
 * is given where a bundler or a security policy needs another way to start `web/worker.js`.
 */
export function loadInWorker<Want extends Wanted = "text-generation">(
  address: string,
  options: WebOptions & ForTask<Want> & { readonly worker?: Worker } = {},
): Promise<RemoteOf<Want>> {
  const { worker, ...rest } = options;
  return openRemote(
    worker ?? new Worker(new URL("./web/worker.js", import.meta.url), { type: "module" }),
    address,
    rest,
  );
}
