/**
 * Bundles the pages: the project's runtime from its sources, transformers.js and wllama from their packages.
 *
 * Knows nothing about what the pages do.
 */

import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const HERE = import.meta.dirname;

/** Write the bundles and the page to `out`; `runtime` is the folder runtime/js. */
export async function bundle(out, runtime) {
  await build({
    entryPoints: ["edgelora", "transformers", "wllama"].map((name) => join(HERE, "pages", `${name}.mjs`)),
    outdir: out,
    bundle: true,
    format: "esm",
    target: "es2022",
    logLevel: "error",
    alias: { "@edgelora/web": join(runtime, "src", "web", "load.ts") },
    nodePaths: [join(HERE, "node_modules")],
    conditions: ["browser", "import", "onnxruntime-web-use-extern-wasm"],
  });
  await copyFile(join(HERE, "pages", "index.html"), join(out, "index.html"));
}
