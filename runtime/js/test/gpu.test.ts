/** What is made of a browser's device and of its errors, where no browser is needed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { BackendError } from "../src/core/errors.js";
import { Gpu, type GpuOrt } from "../src/web/gpu.js";
import { explainMemory } from "../src/web/memory.js";

/** A device as the package gives it, itself or a promise of it, and how to lose it. */
function device(isPromise: boolean) {
  let lose = (_: { message: string }) => {};
  const lost = new Promise<{ message: string }>((resolve) => (lose = resolve));
  const found = { lost };
  const ort = { env: { webgpu: { device: isPromise ? Promise.resolve(found) : found } } } as unknown as GpuOrt;
  return { gpu: new Gpu(ort), lose: () => lose({ message: "gone" }) };
}

for (const isPromise of [false, true]) {
  test(`a device that is ${isPromise ? "promised" : "there"} is watched, and ends a run that would never end`, async () => {
    const { gpu, lose } = device(isPromise);
    assert.equal(await gpu.during(async () => 1), 1);
    await gpu.watch();
    assert.equal(await gpu.during(async () => 2), 2);
    await assert.rejects(
      gpu.during(() => Promise.reject(new Error("a wrong input"))),
      /^Error: a wrong input$/,
    );
    const endless = gpu.during(() => new Promise<number>(() => {}));
    lose();
    const isRight = (error: unknown) =>
      error instanceof BackendError &&
      error.fault === "device-lost" &&
      /^the GPU was lost \(gone\)/.test(error.message);
    await assert.rejects(endless, isRight);
    assert.ok(gpu.isLost);
    await assert.rejects(
      gpu.during(async () => 3),
      isRight,
    );
    assert.throws(() => gpu.place(new Float32Array(1), [1]), isRight);
  });
}

test("a run that fails just before the loss is told has failed for want of the device", async () => {
  const { gpu, lose } = device(false);
  await gpu.watch();
  const failing = gpu.during(() => Promise.reject(new Error("mapAsync failed")));
  setTimeout(lose, 20);
  await assert.rejects(failing, { name: "BackendError" });
});

test("memory that runs out is told as that, and too deep a recursion is not", () => {
  const told = (error: unknown) => explainMemory(error, "computing an answer");
  for (const error of [12345, new RangeError("offset is out of bounds"), new Error("std::bad_alloc")]) {
    const found = told(error);
    assert.ok(found instanceof BackendError && found.fault === "no-memory");
    assert.match(found.message, /^no memory left while computing an answer \(.+\); close other tabs/);
  }
  for (const error of [new RangeError("Maximum call stack size exceeded"), new TypeError("x is not a function")]) {
    assert.equal(told(error), error);
  }
});
