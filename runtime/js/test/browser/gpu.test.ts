/** A GPU that goes away: the model goes on in wasm, or says what happened. On SwiftShader, whose device can be lost too. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { type Bench, bench } from "./browser.js";
import { has, launch, needs, SWIFTSHADER } from "./drivers.js";
import type {} from "./page.js";

interface LosableDevice {
  destroy(): void;
}

declare global {
  /** Every device that the page was given. */
  var devices: LosableDevice[];
}

let browser: Browser;
let place: Bench;

before(async () => {
  if (!has("WebGPU")) return;
  browser = await launch(SWIFTSHADER);
  place = await bench(browser);
  await place.context.addInitScript(() => {
    globalThis.devices = [];
    const found = globalThis as unknown as { GPUAdapter?: { prototype: { requestDevice(options: unknown): unknown } } };
    if (found.GPUAdapter === undefined) return;
    const { prototype } = found.GPUAdapter;
    const request = prototype.requestDevice;
    prototype.requestDevice = async function (options: unknown) {
      const device = (await request.call(this, options)) as LosableDevice;
      globalThis.devices.push(device);
      return device;
    };
  });
});
after(async () => {
  await place?.close();
  await browser?.close();
});

/** In the page: load on WebGPU, lose the device as `when` says, and ask before, meanwhile and afterwards. */
async function lose({ when, fallback }: { when: string; fallback: boolean }) {
  const warnings: string[] = [];
  const options = {
    backend: "webgpu",
    wasmPaths: "/ort/",
    fallback,
    onWarning: (message: string) => warnings.push(message),
  } as const;
  const ask = { adapter: "four", maxNewTokens: 40 };
  const tell = (error: { name: string; fault?: string }) => `${error.name}: ${error.fault}`;
  const wasm = await edgelora.load("/conformance/tiny-float", { backend: "wasm", wasmPaths: "/ort/" });
  const expected = await wasm.generateIds([5, 6, 7], ask);
  const model = await edgelora.load("/conformance/tiny-float", options);
  const first = await model.generateIds([5, 6, 7], ask);
  const before = model.backend;
  let meanwhile: unknown = null;
  const end = () => {
    for (const device of devices) device.destroy();
  };
  if (when === "during") {
    const answer = model.generateIds([5, 6, 7], ask).catch(tell);
    setTimeout(end, 30);
    meanwhile = await answer;
  } else {
    end();
  }
  const later = await model.generateIds([5, 6, 7], ask).catch(tell);
  const backend = model.backend;
  const choice = { ...model.choice };
  await model.dispose();
  await wasm.dispose();
  return { expected, first, before, meanwhile, later, backend, choice, warnings };
}

for (const when of ["between", "during"]) {
  test(`a GPU that is lost ${when} calls is replaced by wasm, and the call is answered`, needs("WebGPU"), async () => {
    const page = await place.open();
    const found = await page.evaluate(lose, { when, fallback: true });
    assert.deepEqual(found.first, found.expected);
    assert.match(found.before, /WebGPU/);
    assert.deepEqual(found.later, found.expected);
    if (when === "during") assert.deepEqual(found.meanwhile, found.expected);
    assert.match(found.backend, /^onnxruntime-web, wasm, .*the GPU was lost/);
    assert.equal(found.choice.name, "wasm");
    assert.equal(
      found.warnings.filter((line) => /the GPU was lost \(.*\); the model goes on in wasm$/.test(line)).length,
      1,
    );
    await page.close();
  });
}

test(
  "a GPU that was insisted on is told of when it is lost, and the model can be disposed of",
  needs("WebGPU"),
  async () => {
    const page = await place.open();
    const found = await page.evaluate(lose, { when: "during", fallback: false });
    assert.equal(found.meanwhile, "BackendError: device-lost");
    assert.equal(found.later, "BackendError: device-lost");
    assert.match(found.backend, /WebGPU/);
    await page.close();
  },
);

test(
  "several prompts that are longer than a narrow GPU takes at once are answered as in wasm",
  needs("WebGPU"),
  async () => {
    const page = await place.open();
    const [gpu, wasm] = await page.evaluate(async () => {
      const rows = [40, 33, 5].map((length, row) => Array.from({ length }, (_, index) => (index * 7 + row) % 380));
      const found: number[][][] = [];
      for (const backend of ["webgpu", "wasm"] as const) {
        const model = await edgelora.load("/conformance/tiny-float", { backend, wasmPaths: "/ort/" });
        found.push(await model.generateIds(rows, { maxNewTokens: 6, adapter: ["four", "none", "one"] }));
        await model.dispose();
      }
      return found;
    });
    assert.deepEqual(gpu, wasm);
    await page.close();
  },
);

test("a model in a worker survives the end of the GPU's process", needs("WebGPU"), async () => {
  const page = await place.open();
  await page.evaluate(async () => {
    const warnings: string[] = [];
    const onWarning = (message: string) => warnings.push(message);
    const options = { backend: "webgpu", wasmPaths: "/ort/", fallback: true, onWarning } as const;
    Object.assign(globalThis, { remote: await edgelora.loadInWorker("/conformance/tiny-float", options), warnings });
  });
  const ask = () =>
    page.evaluate(async () => {
      const ids = await remote.generateIds([5, 6, 7], { adapter: "four", maxNewTokens: 10 });
      return {
        ids,
        backend: remote.backend,
        warnings: [...(globalThis as unknown as { warnings: string[] }).warnings],
      };
    });
  const first = await ask();
  assert.match(first.backend, /WebGPU/);
  await (await browser.newBrowserCDPSession()).send("Browser.crashGpuProcess").catch(() => {}); // it never answers
  const later = await ask();
  assert.deepEqual(later.ids, first.ids);
  assert.match(later.backend, /^onnxruntime-web, wasm/);
  assert.match(later.warnings.join(), /the GPU was lost/);
  await page.evaluate(() => remote.dispose());
});
