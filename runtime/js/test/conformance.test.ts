/** Every case of runtime/conformance in Node, on onnxruntime-node and on onnxruntime-web's wasm. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { type Case, runConformance } from "../src/conformance/run.js";
import { load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const { cases } = JSON.parse(await readFile(`${CONFORMANCE}/cases.json`, "utf8")) as { cases: Case[] };

for (const runtime of ["native", "wasm"] as const) {
  test(`every case gives its answer on ${runtime}`, async () => {
    const open = (name: string) => load(`${CONFORMANCE}/${name}`, { runtime, hashes: true, threads: 1 });
    const results = await runConformance(open, cases);
    const failures = results.filter((result) => result.failure !== null);
    assert.deepEqual(failures, []);
    assert.equal(results.length, cases.length);
  });
}
