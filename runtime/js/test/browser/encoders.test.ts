/** The cases of encoders: wasm with threads in a worker, and some in the page and on WebGPU. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import type { Case } from "../../src/conformance/run.js";
import { CONFORMANCE } from "../places.js";
import { bench } from "./browser.js";
import { launch, needs, SWIFTSHADER } from "./drivers.js";
import type {} from "./page.js";

const { cases } = JSON.parse(await readFile(`${CONFORMANCE}/encoders.json`, "utf8")) as { cases: Case[] };

const all = [...cases.keys()];
const kinds = cases.map(({ artifact, kind }) => `${artifact} ${kind}`);
const some = all.filter((index) => kinds.indexOf(kinds[index] as string) === index);
// A GPU on the CPU takes long, most of all to open a graph.
const few = some.filter((index) => ["encoder-topics", "encoder-tags"].includes(cases[index]?.artifact as string));

const places = [
  ["every case", "wasm, two threads in a worker", { backend: "wasm", threads: 2, inWorker: true }, all],
  ["one case of each kind", "wasm in the page", { backend: "wasm", threads: 1 }, some],
  ["one case of each kind", "WebGPU", { backend: "webgpu" }, few],
] as const;
for (const [what, name, options, indices] of places) {
  const needed = options.backend === "webgpu" ? needs("WebGPU") : {};
  test(`${what} of encoders gives its answer on ${name}`, needed, async () => {
    const browser = await launch(options.backend === "webgpu" ? SWIFTSHADER : undefined);
    const { page, close } = await bench(browser);
    try {
      const results = await page.evaluate(([given, chosen]) => edgelora.encoders("/conformance", given, chosen), [
        options,
        indices,
      ] as const);
      assert.deepEqual(
        results.filter((result) => result.failure !== null),
        [],
      );
      assert.equal(results.length, indices.length);
    } finally {
      await close();
      await browser.close();
    }
  });
}

test("an artifact of another task is refused before it is downloaded", async () => {
  const browser = await launch();
  const { page, server, close } = await bench(browser);
  try {
    const message = await page.evaluate(async () => {
      const options = { task: "text-classification", wasmPaths: "/ort/" } as const;
      return edgelora.loadInWorker("/conformance/tiny-float", options).catch((error: Error) => error.message);
    });
    assert.match(message as string, /tiny-float is for text-generation, expected text-classification; load another/);
    assert.ok(!server.requests.some(({ path }) => path.endsWith("weights.bin")));
  } finally {
    await close();
    await browser.close();
  }
});
