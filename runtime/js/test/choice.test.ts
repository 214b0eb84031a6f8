/** Which backend an artifact gets, from facts of browsers that this machine is not. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { BackendError } from "../src/core/errors.js";
import { type BrowserFacts, chooseBackend, chooseInstead, describeChoice } from "../src/web/choice.js";

const plain = { target: "cpu", record: {} };
const int4 = { target: "web-webgpu", record: { report: { nodes: { MatMulNBits: 211 } } } };
const int8 = { target: "web-wasm", record: { report: { nodes: { MatMulInteger: 211 } } } };
const phone: BrowserFacts = { gpu: "hardware", subgroupSize: 16, isIsolated: true, hasSharedMemory: true, cores: 8 };

test("WebGPU is taken where there is one and the artifact was not made for wasm", () => {
  assert.equal(chooseBackend(phone, int4, {}).choice.name, "webgpu");
  const { choice, warnings } = chooseBackend(phone, int8, {});
  assert.deepEqual(choice, { name: "wasm", threads: 4, reason: "the artifact was exported for it" });
  assert.deepEqual(warnings, []);
  assert.equal(describeChoice(choice), "onnxruntime-web, wasm, 4 threads (the artifact was exported for it)");
  assert.match(chooseBackend(phone, int8, { backend: "webgpu" }).warnings.join(), /export it for web-webgpu/);
});

test("a GPU whose subgroups are narrow is no matter for prompts, which are fed in pieces", () => {
  const { choice, warnings } = chooseBackend({ ...phone, subgroupSize: 4 }, int4, {});
  assert.equal(choice.name, "webgpu");
  assert.deepEqual(warnings, []);
});

test("where such a GPU would answer long texts of an encoder wrongly, wasm is taken, or it is warned of", () => {
  const narrow = { ...phone, subgroupSize: 4 };
  const encoder = { ...int4, encoder: {} as never };
  const { choice } = chooseBackend(narrow, encoder, {});
  assert.deepEqual([choice.name, choice.reason], ["wasm", "the GPU has subgroups of 4"]);
  assert.equal(chooseBackend({ ...phone, subgroupSize: 8 }, encoder, {}).choice.name, "webgpu");
  const { warnings } = chooseBackend(narrow, encoder, { backend: "webgpu" });
  assert.match(warnings.join(), /gives wrong answers to texts of 32 tokens or more; run it in wasm$/);
});

test("without WebGPU, or with one that computes on the CPU, wasm is taken, and int4 is warned of", () => {
  for (const gpu of ["no navigator.gpu", "no adapter", "software"] as const) {
    const { choice, warnings } = chooseBackend({ ...phone, gpu }, int4, {});
    assert.equal(choice.name, "wasm");
    assert.match(choice.reason, gpu === "software" ? /computes on the CPU/ : /this browser has no WebGPU/);
    assert.match(warnings.join(), /MatMulNBits.*--target web-wasm/);
  }
});

test("a page that is not isolated gets one thread, and is told of it where it asked for more", () => {
  const { choice, warnings } = chooseBackend({ ...phone, isIsolated: false }, plain, { backend: "wasm", threads: 3 });
  assert.equal(choice.threads, 1);
  assert.match(choice.reason, /one thread, because more need a cross-origin isolated page/);
  assert.match(warnings.join(), /3 threads need a cross-origin isolated page/);
});

test("a browser without memory that threads share gets one thread, in an isolated page too, and says why", () => {
  const facts = { ...phone, hasSharedMemory: false };
  const { choice, warnings } = chooseBackend(facts, plain, { backend: "wasm", threads: 3 });
  assert.equal(choice.threads, 1);
  assert.match(choice.reason, /one thread, because more need SharedArrayBuffer/);
  assert.deepEqual(warnings, ["3 threads need SharedArrayBuffer; one is used"]);
  assert.equal(chooseBackend(facts, plain, { backend: "wasm" }).choice.threads, 1);
});

test("wishes that cannot be met or make no sense are refused", () => {
  const bare = { ...phone, gpu: "no adapter" } as const;
  assert.throws(() => chooseBackend(bare, plain, { backend: "webgpu" }), {
    name: "BackendError",
    message: /WebGPU was asked for, but this browser has none \(no adapter\)/,
  });
  assert.throws(() => chooseBackend(bare, plain, { backend: "webgl" as never }), /expected "webgpu" or "wasm"/);
  assert.throws(() => chooseBackend(bare, plain, { threads: 0 }), /threads is 0, expected a whole number from 1/);
});

test("in the place of a GPU that failed comes wasm, with what failed as the reason", () => {
  const fault = new BackendError("the GPU was lost (test)", "device-lost");
  const { choice, warnings } = chooseInstead(phone, int4, { threads: 2 }, fault);
  assert.deepEqual(choice, { name: "wasm", threads: 2, reason: "the GPU was lost" });
  assert.match(warnings.join(), /MatMulNBits/);
  const alone = chooseInstead({ ...phone, isIsolated: false }, plain, {}, new BackendError("x", "no-numbers"));
  assert.match(alone.choice.reason, /^the GPU computed no numbers; one thread, because/);
});
