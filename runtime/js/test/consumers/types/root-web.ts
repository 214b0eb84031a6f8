/** In a bundler's app the root is that of the browser. */

import { loadInWorker, type RemoteModel } from "@edgelora/runtime";

export const model: Promise<RemoteModel> = loadInWorker("artifact");
