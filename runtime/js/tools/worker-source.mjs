/**
 * Bundles the worker into one file, and gives its text to bundles of the page.
 *
 * Knows nothing about where the files go.
 */

import { join } from "node:path";
import { build, transform } from "esbuild";

/**
 * The worker and its source map. One file: what is made from text has no folder to load parts from.
 *
 * @param {string} root the folder of this package
 * @returns {Promise<{ code: string, map: string, inputs: string[] }>} the inputs by their paths in `root`
 */
export async function bundleWorker(root) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: ["src/web/worker.ts"],
    outfile: join(root, "dist", "worker.js"),
    bundle: true,
    minifyIdentifiers: true, // and not the whitespace: with it go comments that tell bundlers what to leave alone
    minifySyntax: true,
    format: "esm",
    target: "es2022",
    sourcemap: "linked",
    write: false,
    metafile: true,
    logLevel: "error",
  });
  const [map, code] = outputFiles.map((file) => file.text);
  return { code: /** @type {string} */ (code), map: /** @type {string} */ (map), inputs: Object.keys(metafile.inputs) };
}

/**
 * The module that carries the worker's text.
 *
 * @param {string} worker what `bundleWorker` gives
 */
export async function workerModule(worker) {
  const { code } = await transform(worker, { minifyWhitespace: true, format: "esm" });
  return `export const workerSource = ${JSON.stringify(`${code}//# sourceURL=edgelora-worker.js\n`)};\n`;
}

/**
 * For bundles of the page from its sources, where that module was not written yet.
 *
 * @param {string} root the folder of this package
 * @returns {import("esbuild").Plugin}
 */
export function workerPlugin(root) {
  return {
    name: "worker-source",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /\/worker-source\.js$/ }, () => ({ path: "worker-source", namespace: "worker-source" }));
      onLoad({ filter: /.*/, namespace: "worker-source" }, async () => {
        return { contents: await workerModule((await bundleWorker(root)).code) };
      });
    },
  };
}
