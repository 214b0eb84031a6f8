/** Pages without a bundler: the package served as it is, from another origin, in a worker, under a strict policy. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { launch } from "../browser/drivers.js";
import { CONFORMANCE } from "../places.js";
import { CASE } from "./cases.js";
import { CONSUMERS } from "./install.js";
import { answersOf, assertRight, ISOLATED, type StaticServer, serveFolders } from "./web.js";

const NAMES = ["load", "loadInWorker"];
const PACKAGES = join(CONSUMERS, "node_modules");

let browser: Browser;
let server: StaticServer;
before(async () => {
  const folders = {
    "/artifact/": join(CONFORMANCE, CASE.artifact),
    "/node_modules/": PACKAGES,
    "/plain/": join(CONSUMERS, "plain"),
    "/web/": join(CONSUMERS, "web"),
  };
  server = await serveFolders(folders, ISOLATED);
  browser = await launch();
});
after(async () => {
  await browser.close();
  await server.close();
});

test("a script that is imported as it lies, with threads", async () => {
  const answers = await answersOf(browser, `${server.origin}/plain/index.html`);
  assertRight(answers, NAMES);
  for (const { backend } of answers) assert.match(backend, /^onnxruntime-web, wasm, 2 threads/);
});

test("a script of another origin, onnxruntime's files from there as well, with threads", async () => {
  const [runtime, ort] = ["@edgelora/runtime", "onnxruntime-web"];
  const packages = await serveFolders(
    {
      [`/npm/${runtime}@0.1.0/`]: join(PACKAGES, runtime),
      [`/npm/${ort}@1.30.0/`]: join(PACKAGES, ort),
    },
    { "access-control-allow-origin": "*" },
  );
  try {
    const address = `${server.origin}/plain/elsewhere.html`;
    const answers = await answersOf(browser, address, { packages: `${packages.origin}/npm/` });
    assertRight(answers, NAMES);
    for (const { backend } of answers) assert.match(backend, /^onnxruntime-web, wasm, 2 threads/);
  } finally {
    await packages.close();
  }
});

test("a worker, which has no document, and a worker of it", async () => {
  assertRight(await answersOf(browser, `${server.origin}/plain/in-worker.html`), NAMES);
});

test("a policy that allows no worker from text: the error says what to do, and that does it", async () => {
  const [refused, ...answers] = await answersOf(browser, `${server.origin}/plain/policy.html`);
  assert.match(
    refused?.name ?? "",
    /^BackendError: the worker stopped \(.+blob: in worker-src wants the option worker\)/,
  );
  assertRight(answers, ["loadInWorker"]);
});
