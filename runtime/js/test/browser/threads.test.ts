/** Threads of models in workers: who makes them, who ends them, and many at once. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { bench } from "./browser.js";
import { launch, needs } from "./drivers.js";
import type {} from "./page.js";

const OPTIONS = { backend: "wasm", threads: 2, wasmPaths: "/ort/" } as const;

let browser: Browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

declare global {
  var workers: { readonly name: string | undefined; isEnded: boolean }[];
}

/** Write down which workers the page makes, and whether they were ended. */
function watchWorkers(page: Page): Promise<void> {
  return page.evaluate(() => {
    globalThis.workers = [];
    globalThis.Worker = class extends Worker {
      readonly #entry;
      constructor(address: string | URL, options?: WorkerOptions) {
        super(address, options);
        this.#entry = { name: options?.name, isEnded: false };
        workers.push(this.#entry);
      }
      override terminate(): void {
        this.#entry.isEnded = true;
        super.terminate();
      }
    };
  });
}

test("the page makes the threads of its workers, and ends them with the model", needs("threads"), async () => {
  const { page, close } = await bench(browser);
  try {
    await watchWorkers(page);
    const found = await page.evaluate(async (options) => {
      const model = await edgelora.loadInWorker("/conformance/tiny-float", options);
      const ids = await model.generateIds([5, 6, 7], { adapter: "four", maxNewTokens: 4 });
      const open = structuredClone(workers);
      await model.dispose();
      return { ids, threads: model.choice.threads, open, ended: workers };
    }, OPTIONS);
    assert.deepEqual([found.ids.length, found.threads], [4, 2]);
    const [names, areEnded] = [["edgelora", "em-pthread"], (item: { isEnded: boolean }) => item.isEnded];
    assert.deepEqual([found.open.map(({ name }) => name), found.open.some(areEnded)], [names, false]);
    assert.deepEqual([found.ended.map(({ name }) => name), found.ended.every(areEnded)], [names, true]);
  } finally {
    await close();
  }
});

test("a load that is aborted ends its worker and its threads", needs("threads"), async () => {
  const { page, close } = await bench(browser);
  try {
    await watchWorkers(page);
    const found = await page.evaluate(async (options) => {
      const ending = new AbortController();
      const load = edgelora.loadInWorker("/conformance/tiny-float", { ...options, signal: ending.signal });
      const error = load.then(() => "loaded", String);
      while (workers.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
      ending.abort(new Error("enough"));
      return { error: await error, workers };
    }, OPTIONS);
    assert.equal(found.error, "Error: enough");
    assert.deepEqual(
      found.workers.map(({ isEnded }) => isEnded),
      [true, true],
    );
  } finally {
    await close();
  }
});

test("models that load at once, each in a worker with two threads, all come", needs("threads"), async () => {
  const { page, open, close } = await bench(browser);
  try {
    const pages = [page, await open()];
    for (let round = 0; round < 6; round++) {
      const loads = ["tiny-float", "tiny-int8", "tiny-int4", "tiny-dora"].map((name, index) =>
        (pages[index % 2] as Page).evaluate(([at, options]) => edgelora.attempt(at, { ...options, inWorker: true }), [
          `/conformance/${name}`,
          OPTIONS,
        ] as const),
      );
      for (const { error, ids, choice } of await Promise.all(loads)) {
        assert.deepEqual([error, ids?.length, choice?.threads], [null, 4, 2]);
      }
    }
  } finally {
    await close();
  }
});

test("threads that a policy forbids end the load with an error", needs("threads"), async () => {
  const { page, server, close } = await bench(browser);
  try {
    await page.evaluate(() => {
      const policy = document.createElement("meta");
      policy.httpEquiv = "Content-Security-Policy";
      policy.content = "script-src 'self' blob: 'wasm-unsafe-eval'; worker-src blob:";
      document.head.append(policy);
    });
    const load = (inWorker: boolean) =>
      page.evaluate((options) => edgelora.attempt("/conformance/tiny-float", options), { ...OPTIONS, inWorker });
    const { error } = await load(true);
    assert.equal(error?.name, "BackendError");
    assert.ok(error?.message.includes(`a thread from ${server.origin}/ort/`), error?.message);
    const { error: here } = await load(false);
    assert.equal(here?.name, "BackendError");
    assert.match(
      here?.message ?? "",
      /^onnxruntime-web cannot start \(.+\); its files are looked for in http.+\/ort\//,
    );
  } finally {
    await close();
  }
});
