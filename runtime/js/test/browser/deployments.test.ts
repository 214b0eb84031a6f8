/** The example page as any server has it: in folders, without headers, two of one origin, and after an update. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { CONFORMANCE } from "../places.js";
import { has, launch, unplug } from "./drivers.js";
import { ask, EXAMPLE, openExample, serveExample } from "./example.js";
import { serve, type TestServer } from "./server.js";

let browser: Browser;
let folder: string;
let server: TestServer;

before(async () => {
  browser = await launch();
  folder = await mkdtemp(join(tmpdir(), "edgelora-page-"));
  for (const name of ["one", "two"]) await run("static.mjs", join(CONFORMANCE, "tiny-float"), join(folder, name));
  server = await serve({ one: join(folder, "one"), two: join(folder, "two") });
});
after(async () => {
  await browser.close();
  await server.close();
  await rm(folder, { recursive: true });
});

/** Run a program of the page; what it prints. */
const run = async (program: string, ...given: string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...given], { cwd: EXAMPLE });
  return stdout;
};

const openKept = async (context: BrowserContext, address: string): Promise<Page> => {
  const page = await openExample(context, address);
  await page.waitForFunction(() => document.documentElement.dataset.offline === "ready");
  return page;
};

test("a server that sends no headers gives threads too, and two pages of one origin both work without it", async () => {
  const context = await browser.newContext();
  const { origin, close } = await serve({ one: join(folder, "one"), two: join(folder, "two") });
  for (const name of ["one", "two"]) {
    const page = await openKept(context, `${origin}/${name}`);
    assert.ok(await page.evaluate(() => crossOriginIsolated));
    const backend = (await page.locator("#figure-backend").textContent()) as string;
    assert.match(backend, has("threads") ? /wasm, [2-9] threads/ : /wasm, 1 thread /);
    await page.close();
  }
  await close();
  await unplug(context);
  for (const name of ["one", "two"]) {
    const page = await openExample(context, `${origin}/${name}`);
    assert.ok(await page.evaluate(() => crossOriginIsolated));
    assert.notEqual(await ask(page, "a b", 6), "");
    await page.close();
  }
  await context.close();
});

test("a static folder is not written over another, nor without an artifact", async () => {
  const artifact = join(CONFORMANCE, "tiny-float");
  for (const [given, line] of [
    [[artifact, join(folder, "one")], /exists; give a folder that does not/],
    [[folder, join(folder, "three")], /has no manifest\.json; give a folder that `edgelora export` wrote/],
    [[artifact], /give the folder of an artifact, or of two, and one to write/],
  ] as const) {
    await assert.rejects(run("static.mjs", ...given), { code: 2, stderr: line });
  }
});

test("phones of the same network can open the page where that is asked for", async () => {
  const shared = await serveExample(join(CONFORMANCE, "tiny-float"), 0, undefined, "0.0.0.0");
  const { hostname, port } = new URL(shared.address);
  assert.notEqual(hostname, "localhost");
  assert.ok((await fetch(`http://${hostname}:${port}/`)).ok);
  await shared.stop();
  const alone = await serveExample(join(CONFORMANCE, "tiny-float"));
  await assert.rejects(fetch(`http://${hostname}:${new URL(alone.address).port}/`));
  await alone.stop();
});

test("a new version waits for the tabs of the old one, and does not bring onnxruntime once more", async () => {
  const context = await browser.newContext();
  const page = await openKept(context, `${server.origin}/one`);
  const root = join(folder, "one");
  const before = await page.evaluate(() => caches.keys());
  await appendFile(join(root, "index.html"), "<!-- another version -->");
  const worker = await readFile(join(root, "sw.js"), "utf8");
  await writeFile(join(root, "sw.js"), worker.replace(/"version":"\w+"/, '"version":"another"'));
  server.requests.length = 0;
  await page.evaluate(async () => {
    await (await navigator.serviceWorker.ready).update();
  });
  await page.waitForFunction(async () => (await navigator.serviceWorker.ready).waiting !== null);
  for (const name of before) assert.ok((await page.evaluate(() => caches.keys())).includes(name), name);
  await page.close();
  const next = await openKept(context, `${server.origin}/one`);
  const [kept] = before.filter((name) => name.includes("/one/ ort "));
  await next.waitForFunction(async (expected) => {
    const names = (await caches.keys()).filter((name) => name.includes("/one/ "));
    return names.length === 2 && names.includes(expected) && names.some((name) => name.endsWith(" another"));
  }, kept as string);
  assert.deepEqual(
    server.requests.map(({ path }) => path).filter((path) => path.includes("/ort/")),
    [],
  );
  await context.close();
});
