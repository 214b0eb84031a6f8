/** The page of an app, built and served by each bundler without configuration, answers in the page and in a worker. */

import { cpSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { launch } from "../browser/drivers.js";
import { CONSUMERS, run } from "./install.js";
import { answersOf, assertRight, ISOLATED, makePublic, serveFolders } from "./web.js";

const NAMES = ["load", "loadInWorker"];
const APP = join(CONSUMERS, "web");
const PUBLIC = join(APP, "public");
const OUT = join(CONSUMERS, "built");

let browser: Browser;
before(async () => {
  makePublic(PUBLIC);
  rmSync(OUT, { recursive: true, force: true });
  browser = await launch();
});
after(() => browser.close());

/** What is used of Vite; each version has types of its own. */
interface Vite {
  readonly version: string;
  build(config: object): Promise<unknown>;
  createServer(config: object): Promise<{
    listen(): Promise<unknown>;
    close(): Promise<void>;
    readonly resolvedUrls: { readonly local: readonly string[] } | null;
  }>;
}

for (const version of [6, 7, 8]) {
  const config = { root: APP, configFile: false, logLevel: "error", cacheDir: join(OUT, `cache-${version}`) };
  const vite = async () =>
    (await import(pathToFileURL(join(CONSUMERS, `node_modules/vite-${version}/dist/node/index.js`)).href)) as Vite;

  test(`Vite ${version}, build`, async () => {
    const outDir = join(OUT, `vite-${version}`);
    const input = [join(APP, "index.html"), join(APP, "own-worker.html")];
    await (await vite()).build({ ...config, build: { outDir, rollupOptions: { input } } });
    await answer(outDir);
    await answer(outDir, "own-worker.html", ["loadInWorker"]);
  });

  test(`Vite ${version}, dev server`, async () => {
    const server = await (await vite()).createServer({ ...config, server: { port: 0 } });
    try {
      await server.listen();
      const address = server.resolvedUrls?.local[0] as string;
      assertRight(await answersOf(browser, address), NAMES);
      assertRight(await answersOf(browser, `${address}own-worker.html`), ["loadInWorker"]);
    } finally {
      await server.close();
    }
  });
}

test("esbuild, in parts, in one file, and as a script that is no module", async () => {
  for (const [name, ...words] of [["parts", "--format=esm", "--splitting"], ["one-file", "--format=esm"], ["script"]]) {
    const out = join(OUT, `esbuild-${name}`);
    const esbuild = join(CONSUMERS, "node_modules/.bin/esbuild");
    run(APP, esbuild, "main.js", "--bundle", "--minify", `--outdir=${out}`, ...words);
    addPublic(out);
    await answer(out);
  }
});

test("webpack 5", async () => {
  const out = join(OUT, "webpack");
  run(APP, process.execPath, "../webpack.mjs", "main.js", out);
  addPublic(out);
  await answer(out);
  const other = join(OUT, "webpack-own-worker");
  run(APP, process.execPath, "../webpack.mjs", "own-worker.js", other);
  addPublic(other);
  await answer(other, "index.html", ["loadInWorker"]);
});

/** Beside what a bundler wrote, what a server has anyway. */
function addPublic(out: string): void {
  cpSync(join(APP, "index.html"), join(out, "index.html"));
  for (const name of ["artifact", "ort"]) symlinkSync(join(PUBLIC, name), join(out, name));
}

async function answer(folder: string, page = "", names = NAMES): Promise<void> {
  const server = await serveFolders({ "/": folder }, ISOLATED);
  try {
    assertRight(await answersOf(browser, `${server.origin}/${page}`), names);
  } finally {
    await server.close();
  }
}
