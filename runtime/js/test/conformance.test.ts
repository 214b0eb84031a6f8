/** Every case of runtime/conformance in Node, on onnxruntime-node and on onnxruntime-web's wasm. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { runEncoders } from "../src/conformance/encoders.js";
import { runForms } from "../src/conformance/forms.js";
import { type Case, runConformance } from "../src/conformance/run.js";
import { type EncoderModel, load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const { cases } = JSON.parse(await readFile(`${CONFORMANCE}/cases.json`, "utf8")) as { cases: Case[] };

for (const runtime of ["native", "wasm"] as const) {
  test(`every case gives its answer on ${runtime}`, async () => {
    const open = (name: string) =>
      // Hashes look at every entry and file, and those of one artifact are wrong.
      load(`${CONFORMANCE}/${name}`, { runtime, hashes: name !== "tiny-wrong", threads: 1 });
    const results = await runConformance(open, cases);
    const failures = results.filter((result) => result.failure !== null);
    assert.deepEqual(failures, []);
    assert.equal(results.length, cases.length);
  });
}

const encoders = JSON.parse(await readFile(`${CONFORMANCE}/encoders.json`, "utf8")) as { cases: Case[] };

for (const runtime of ["native", "wasm"] as const) {
  test(`every case of encoders gives its answer on ${runtime}`, async () => {
    const open = (name: string) =>
      load(`${CONFORMANCE}/${name}`, { runtime, hashes: true, threads: 1, task: "any" }) as Promise<EncoderModel>;
    const results = await runEncoders(open, (folder) => `${CONFORMANCE}/${folder}`, encoders.cases);
    assert.deepEqual(
      results.filter((result) => result.failure !== null),
      [],
    );
    assert.equal(results.length, encoders.cases.length);
  });
}

const forms = JSON.parse(await readFile(`${CONFORMANCE}/forms.json`, "utf8")) as { cases: Case[] };

for (const runtime of ["native", "wasm"] as const) {
  test(`every answer keeps its form on ${runtime}`, async () => {
    const open = (name: string) => load(`${CONFORMANCE}/${name}`, { runtime, threads: 1 });
    const results = await runForms(open, forms.cases);
    assert.deepEqual(
      results.filter((result) => result.failure !== null),
      [],
    );
    assert.equal(results.length, forms.cases.length);
  });
}

test("the runner says what is wrong with an answer that has a form, whatever the kind", async () => {
  const kinds = [...new Set(forms.cases.map((item) => item.kind))];
  assert.equal(kinds.length, 4);
  const spoiled = kinds.map((kind) => {
    const item = structuredClone(forms.cases.find((one) => one.kind === kind)) as Record<string, unknown>;
    return { ...item, expected: [[1, 1]], expected_ids: null, message_has: "nothing of the kind" };
  });
  const open = (name: string) => load(`${CONFORMANCE}/${name}`, { threads: 1 });
  const results = await runForms(open, [...(spoiled as unknown as Case[]), { kind: "new", name: "unknown" }]);
  assert.deepEqual(
    results.filter((result) => result.failure === null).map((result) => result.kind),
    [],
  );
  assert.equal(results.length, kinds.length + 1);
});

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

test("the runner says what is wrong with an answer of an encoder, whatever the kind", async () => {
  const kinds = [...new Set(encoders.cases.map((item) => item.kind))];
  assert.equal(kinds.length, 7);
  const spoiled = kinds.map((kind) => {
    const item = structuredClone(encoders.cases.find((one) => one.kind === kind)) as Record<string, unknown>;
    const isRefusal = kind === "refused" || kind === "adapter";
    return { ...item, accepted: false, message_has: "nothing of the kind", ...(isRefusal ? {} : { tolerance: -1 }) };
  });
  const open = (name: string) => load(`${CONFORMANCE}/${name}`, { threads: 1, task: "any" }) as Promise<EncoderModel>;
  const results = await runEncoders(open, (folder) => `${CONFORMANCE}/${folder}`, spoiled as unknown as Case[]);
  assert.deepEqual(
    results.filter((result) => result.failure === null).map((result) => result.kind),
    [],
  );
});
