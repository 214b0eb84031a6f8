/** In Node the root is that of Node. */

import { folder, load, type Model } from "@edgelora/runtime";

export const model: Promise<Model> = load("artifact", { runtime: "wasm" });
export const adapter = folder("adapter");
