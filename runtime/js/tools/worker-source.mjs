/**
 * Bundles the worker, into one file and into parts, and gives the texts to bundles of the page.
 *
 * Knows nothing about where the files go.
 */

import { basename, join } from "node:path";
import { build, transform } from "esbuild";

/** @type {import("esbuild").BuildOptions} */
const OPTIONS = {
  bundle: true,
  format: "esm",
  target: "es2022",
  write: false,
  metafile: true,
  logLevel: "error",
};

/**
 * package.json says of the built worker alone that it does something.
 *
 * @type {import("esbuild").Plugin}
 */
const DOES_SOMETHING = {
  name: "does-something",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/worker\.js$/ }, ({ resolveDir }) => ({
      path: join(resolveDir, "worker.ts"),
      sideEffects: true,
    }));
  },
};

/**
 * The worker in one file, and its source map: for those who start one from an address.
 *
 * @param {string} root the folder of this package
 * @returns {Promise<{ code: string, map: string, inputs: string[] }>} the inputs by their paths in `root`
 */
export async function bundleWorker(root) {
  const { outputFiles = [], metafile } = await build({
    ...OPTIONS,
    absWorkingDir: root,
    entryPoints: ["src/web/worker.ts"],
    outfile: join(root, "dist", "worker.js"),
    minifyIdentifiers: true, // and not the whitespace: with it go comments that tell bundlers what to leave alone
    minifySyntax: true,
    sourcemap: "linked",
  });
  const [map, code] = outputFiles.map((file) => file.text);
  return {
    code: /** @type {string} */ (code),
    map: /** @type {string} */ (map),
    inputs: Object.keys(metafile?.inputs ?? {}),
  };
}

/**
 * The modules that carry the worker's texts, by their file names: `worker-source.js` has what a worker starts with, and
 * imports the others when they are wanted.
 *
 * @param {string} root the folder of this package
 * @param {string} whole the worker in one file, as `bundleWorker` gives it
 * @returns {Promise<Map<string, string>>}
 */
export async function workerModules(root, whole) {
  const { outputFiles = [], metafile } = await build({
    ...OPTIONS,
    absWorkingDir: root,
    entryPoints: { worker: "src/web/parts.ts" },
    outdir: "out",
    splitting: true,
    minify: true,
    plugins: [DOES_SOMETHING],
  });
  const texts = new Map(
    outputFiles.map(({ path, text }) => [basename(path, ".js"), asText(basename(path, ".js"), text)]),
  );
  const first = new Set(["out/worker.js"]);
  for (const file of first) {
    for (const { path, kind } of metafile?.outputs[file]?.imports ?? [])
      if (kind === "import-statement") first.add(path);
  }
  texts.set("whole", asText("whole", (await transform(whole, { minifyWhitespace: true, format: "esm" })).code));
  const modules = new Map();
  const entries = [...texts].map(([name, text]) => {
    if (first.has(`out/${name}.js`)) return `  "${name}": async () => ${JSON.stringify(text)},`;
    modules.set(`worker-${name}.js`, `export default ${JSON.stringify(text)};\n`);
    return `  "${name}": async () => (await import("./worker-${name}.js")).default,`;
  });
  return modules.set("worker-source.js", `export const texts = {\n${entries.join("\n")}\n};\n`);
}

/**
 * A file of the bundle as its text is carried: others are imported from where the page puts them, or asked for.
 *
 * @param {string} name
 * @param {string} code
 */
function asText(name, code) {
  const linked = code
    .replace(/\bimport\("\.\/([\w-]+)\.js"\)/g, 'edgeloraPart("$1")')
    .replace(/\b(from|import) ?"\.\/([\w-]+)\.js"/g, '$1"edgelora:$2"');
  return `${linked}//# sourceURL=edgelora-${name}.js\n`;
}

/**
 * For bundles of the page from its sources, where those modules were not written yet.
 *
 * @param {string} root the folder of this package
 * @returns {import("esbuild").Plugin}
 */
export function workerPlugin(root) {
  const modules = bundleWorker(root).then(({ code }) => workerModules(root, code));
  return {
    name: "worker-source",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /\/worker-[\w-]+\.js$/ }, async ({ path }) => {
        const name = basename(path);
        return (await modules).has(name) ? { path: name, namespace: "worker-source" } : undefined;
      });
      onLoad({ filter: /.*/, namespace: "worker-source" }, async ({ path }) => ({
        contents: (await modules).get(path),
      }));
    },
  };
}
