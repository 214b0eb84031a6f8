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

test("the runner says what is wrong with an answer, whatever the kind", async () => {
  const kinds = [...new Set(cases.map((item) => item.kind))];
  assert.equal(kinds.length, 13);
  const spoiled = kinds.map((kind) => {
    const item = structuredClone(cases.find((one) => one.kind === kind)) as Record<string, unknown>;
    const field = ["expected_text", "expected_ids", "expected", "message_has"].find((name) => item[name] !== undefined);
    return { ...item, [field as string]: field === "message_has" ? "nothing of the kind" : null } as unknown as Case;
  });
  const open = (name: string) => load(`${CONFORMANCE}/${name}`, { threads: 1 });
  const results = await runConformance(open, [...spoiled, { kind: "new", name: "unknown" }]);
  assert.deepEqual(
    results.filter((result) => result.failure === null).map((result) => result.kind),
    [],
  );
  assert.equal(results.length, kinds.length + 1);
});
