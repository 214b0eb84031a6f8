/** The cases of runtime/conformance in a browser: wasm with and without threads, in a worker, and WebGPU. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import type { Case, CaseResult } from "../../src/conformance/run.js";
import { CONFORMANCE } from "../places.js";
import { bench } from "./browser.js";
import { has, launch, needs, SWIFTSHADER } from "./drivers.js";
import type {} from "./page.js";

const { cases } = JSON.parse(await readFile(`${CONFORMANCE}/cases.json`, "utf8")) as { cases: Case[] };

// `make test` runs every seventh case in browsers beside Chromium: they compute with the same wasm.
const step = Number(process.env.EDGELORA_CASES_STEP ?? 1);
const chosen = [...cases.keys()].filter((index) => index % step === 0);

let browser: Browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

function assertAll(results: readonly CaseResult[], count: number): void {
  assert.deepEqual(
    results.filter((result) => result.failure !== null),
    [],
  );
  assert.equal(results.length, count);
}

const places = [
  ["one thread", { isIsolated: false, inWorker: false }],
  [has("threads") ? "two threads in a worker" : "in a worker", { isIsolated: true, inWorker: true }],
] as const;
for (const [name, { isIsolated, inWorker }] of places) {
  test(`${chosen.length} cases give their answers in wasm, ${name}`, async () => {
    const { page, close } = await bench(browser, {}, isIsolated);
    try {
      assert.equal(await page.evaluate(() => crossOriginIsolated), isIsolated);
      const results = await page.evaluate(
        ([given, indices]) =>
          edgelora.conformance("/conformance", { backend: "wasm", threads: 2, inWorker: given }, indices),
        [inWorker, chosen] as const,
      );
      assertAll(results, chosen.length);
      const { choice } = await page.evaluate(() => edgelora.attempt("/conformance/tiny-float", { threads: 2 }));
      assert.equal(choice?.threads, isIsolated && has("threads") ? 2 : 1);
    } finally {
      await close();
    }
  });
}

for (const inWorker of [false, true]) {
  test(`answers keep their forms, token by token, ${inWorker ? "in a worker" : "in the page"}`, async () => {
    const { cases: forms } = JSON.parse(await readFile(`${CONFORMANCE}/forms.json`, "utf8")) as { cases: Case[] };
    const answers = forms.filter(({ kind, artifact }) => artifact === "tiny-float" && /^forms?$/.test(kind));
    assert.ok(answers.some(({ schema }) => schema !== null) && answers.some(({ kind }) => kind === "forms"));
    const { page, close } = await bench(browser);
    try {
      const results = await page.evaluate(
        (given) => edgelora.forms("/conformance", "tiny-float", { backend: "wasm", inWorker: given }),
        inWorker,
      );
      assertAll(results, answers.length);
    } finally {
      await close();
    }
  });
}

test(
  "float32 and some of int4 and int8 give their answers on WebGPU, adapters and KV cache on the GPU",
  needs("WebGPU"),
  async () => {
    const isLong = (item: Case) => ((item.input_ids ?? []) as readonly unknown[]).length > 32; // another kernel
    const indices = cases.flatMap((item, index) => {
      const isLongest = item.kind === "tokens" && isLong(item) && item.artifact !== "tiny-cache";
      const isChosen = item.artifact === "tiny-float" || isLongest;
      return isChosen ? [index] : [];
    });
    const withGpu = await launch(SWIFTSHADER);
    const { page, close } = await bench(withGpu);
    try {
      const results = await page.evaluate(
        (few) => edgelora.conformance("/conformance", { backend: "webgpu" }, few),
        indices,
      );
      assertAll(results, indices.length);
      const gpu = { backend: "webgpu" } as const;
      const { error } = await page.evaluate((given) => edgelora.attempt("/conformance/tiny-cache", given), gpu);
      assert.match(error?.message ?? "", /has no KV cache of 8 bits; export without --kv-cache int8/);
      const { choice } = await page.evaluate(() => edgelora.attempt("/conformance/tiny-float"));
      assert.match(choice?.reason as string, /the WebGPU of this browser computes on the CPU/);
    } finally {
      await close();
      await withGpu.close();
    }
  },
);
