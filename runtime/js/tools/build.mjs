/**
 * `npm run build`: everything that is published, in `dist`.
 *
 * Modules with declarations for bundlers; the worker in one file, and as texts in modules of the page's; the page's entry
 * with all that it needs, for pages without a bundler.
 */

import { execFileSync } from "node:child_process";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { bundleWorker, workerModules } from "./worker-source.mjs";

const ROOT = dirname(import.meta.dirname);
const DONE = join(ROOT, "dist"); // others may be reading it: it is replaced when all is there
const DIST = join(ROOT, "dist-fresh");
const TSC = createRequire(import.meta.url).resolve("typescript/package.json");

rmSync(DIST, { recursive: true, force: true });
execFileSync(
  process.execPath,
  [join(dirname(TSC), "bin", "tsc"), "-p", join(ROOT, "tsconfig.build.json"), "--outDir", DIST],
  {
    stdio: "inherit",
  },
);
const { code, map, inputs } = await bundleWorker(ROOT);
writeFileSync(join(DIST, "worker.js"), code);
writeFileSync(join(DIST, "worker.js.map"), map);
for (const [name, module] of await workerModules(ROOT, code)) writeFileSync(join(DIST, "web", name), module);
for (const name of ["worker", "parts"]) for (const end of ["js", "js.map"]) rmSync(join(DIST, "web", `${name}.${end}`)); // bundled
const { metafile } = await build({
  absWorkingDir: ROOT,
  entryPoints: { edgelora: join(DIST, "web.js") },
  outdir: join(DIST, "browser"),
  bundle: true,
  splitting: true,
  minify: true,
  format: "esm",
  target: "es2022",
  sourcemap: "linked",
  metafile: true,
  logLevel: "error",
});

// Bundles carry code of other packages, whose licences go with it.
const names = [...inputs, ...Object.keys(metafile.inputs)].map(
  (path) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1],
);
const licences = [...new Set(names)].sort().flatMap((name) => {
  if (name === undefined) return [];
  return [`${name}\n\n${readFileSync(join(ROOT, "node_modules", name, "LICENSE"), "utf8").trim()}\n`];
});
writeFileSync(join(DIST, "THIRD_PARTY_LICENSES.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
rmSync(DONE, { recursive: true, force: true });
renameSync(DIST, DONE);
