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
  const context = await within(SILENCE_MS, browser.newContext(), "the browser opened no context");
  const open = async () => {
    const page = await context.newPage();
    await page.goto(`${server.origin}/lib/index.html`);
    await page.waitForFunction(() => "edgelora" in globalThis);
    return page;
  };
  const page = await within(SILENCE_MS, open(), "a page was opened, and never came");
  const watch = watchSilence(context, server);
  const close = async () => {
    clearInterval(watch);
    await context.close();
    await server.close();
  };
  return { server, context, page, open, close };
}

/** Longer than any test goes without asking the server for something, on a busy machine too. */
const SILENCE_MS = 240_000;

/**
 * Close a page that asks for nothing any more: what waits for it then fails, and the test's name is told.
 *
 * What a page computes has no deadline of its own in Playwright, so that a browser that lost a message would otherwise
 * hold up every test behind it.
 */
function watchSilence(context: BrowserContext, server: TestServer): NodeJS.Timeout {
  let seen = 0;
  let since = Date.now();
  const watch = setInterval(() => {
    if (server.requests.length !== seen) [seen, since] = [server.requests.length, Date.now()];
    if (Date.now() - since < SILENCE_MS) return;
    clearInterval(watch);
    const last = server.requests.slice(-8).map((request) => `${request.path}${request.query} ${request.range ?? ""}`);
    process.stderr.write(`a page was silent for ${SILENCE_MS / 1000} s. Its last requests: ${last.join(", ")}\n`);
    void context.close();
  }, 5000).unref();
  return watch;
}

/** What is promised, or an error with this text where it does not come in time. */
async function within<T>(ms: number, promised: Promise<T>, text: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${text} in ${ms / 1000} s`)), ms);
  });
  return Promise.race([promised, late]).finally(() => clearTimeout(timer));
}
