/**
 * A page that has the library, in the browser that the tests run in.
 *
 * Knows nothing about what is tested.
 */

import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { workerPlugin } from "../../tools/worker-source.mjs";
import { CONFORMANCE, PACKAGE } from "../places.js";
import { serve, type TestServer } from "./server.js";

/** The library bundled for the browser beside onnxruntime's files; made once for each process. */
let bundled: Promise<{ readonly lib: string; readonly ort: string }> | null = null;

export function bundle() {
  bundled ??= makeBundle();
  return bundled;
}

async function makeBundle() {
  const folder = join(PACKAGE, "build", `browser-${process.pid}`);
  const lib = join(folder, "lib");
  await build({
    absWorkingDir: PACKAGE,
    entryPoints: { page: "test/browser/page.ts", worker: "src/web/worker.ts" },
    outdir: lib,
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    plugins: [workerPlugin(PACKAGE)],
    logLevel: "error",
  });
  await writeFile(
    join(lib, "index.html"),
    '<!doctype html><meta charset="utf-8"><script type="module" src="page.js"></script>',
  );
  const ort = join(folder, "ort");
  execFileSync(process.execPath, [join(PACKAGE, "bin", "edgelora-ort.mjs"), ort], { cwd: PACKAGE });
  return { lib, ort };
}

/** A page with the library in a context of its own, and the server that it and its artifacts come from. */
export interface Bench {
  readonly server: TestServer;
  readonly context: BrowserContext;
  readonly page: Page;
  /** Another page of the same context: same cache. */
  open(): Promise<Page>;
  close(): Promise<void>;
}

export async function bench(
  browser: Browser,
  folders: Readonly<Record<string, string>> = {},
  isIsolated = true,
): Promise<Bench> {
  const { lib, ort } = await bundle();
  const server = await serve({ lib, ort, conformance: CONFORMANCE, ...folders }, { isIsolated });
  const context = await browser.newContext();
  const open = async () => {
    const page = await context.newPage();
    await page.goto(`${server.origin}/lib/index.html`);
    await page.waitForFunction(() => "edgelora" in globalThis);
    return page;
  };
  const page = await open();
  const close = async () => {
    await context.close();
    await server.close();
  };
  return { server, context, page, open, close };
}
