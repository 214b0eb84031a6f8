/** Adapters of an artifact that come when they are used: what is asked for, what is kept, what is there offline. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { Browser } from "playwright-core";
import { CONFORMANCE } from "../places.js";
import { type Bench, bench } from "./browser.js";
import { launch } from "./drivers.js";
import type {} from "./page.js";

const AT = "/conformance/tiny-float";

let browser: Browser;
let place: Bench;

before(async () => {
  browser = await launch();
});
after(() => browser.close());
beforeEach(async () => {
  place = await bench(browser, {});
});
afterEach(() => place.close());

const names = async () => {
  const { adapters } = JSON.parse(await readFile(`${CONFORMANCE}/tiny-float/manifest.json`, "utf8"));
  return (adapters as { name: string }[]).map(({ name }) => name);
};
const asked = () =>
  new Set(place.server.requests.flatMap(({ path }) => path.match(/tiny-float\/adapters\/([^/]+)\//)?.[1] ?? []));

/** Load, answer with some adapters, and say what went wrong with each. */
const answer = (used: readonly string[], when?: "all" | "used", inWorker = false) =>
  place.page.evaluate(
    async ([at, specs, adapters, isRemote]) => {
      const load = isRemote ? edgelora.loadInWorker : edgelora.load;
      const model = await load(at, { backend: "wasm", wasmPaths: "/ort/", adapters });
      const found: Record<string, readonly number[] | string> = {};
      for (const spec of specs) {
        try {
          await model.setAdapter(spec);
          found[spec] = await model.generateIds([5, 6, 7], { maxNewTokens: 6 });
        } catch (error) {
          found[spec] = `${(error as Error).name}: ${(error as Error).message}`;
        }
      }
      await model.dispose();
      return found;
    },
    [AT, used, when, inWorker] as const,
  );

for (const inWorker of [false, true]) {
  const where = inWorker ? "in a worker" : "in the page";
  test(`each adapter comes when it is first used, ${where}, and answers as one that came before`, async () => {
    const [first, second] = (await names()) as [string, string];
    const estimates = await place.page.evaluate(async (at) => {
      const { estimate } = edgelora.models;
      return [(await estimate(at, { adapters: "used" })).bytes, (await estimate(at)).bytes];
    }, AT);
    assert.ok((estimates[0] as number) < (estimates[1] as number));
    const none = await answer([], "used", inWorker);
    assert.deepEqual([none, asked()], [{}, new Set()]);
    const one = await answer([first], "used", inWorker);
    assert.deepEqual(asked(), new Set([first]));
    place.server.requests.length = 0;
    assert.deepEqual(await answer([first], "used", inWorker), one);
    assert.deepEqual(asked(), new Set(), "it was kept");
    if (!inWorker) {
      await place.context.setOffline(true);
      const offline = await answer([first, second], "used");
      assert.deepEqual(offline[first], one[first]);
      assert.match(String(offline[second]), /^AdapterError: .*adapter_config\.json.*load again/);
      await place.context.setOffline(false);
    }
    const all = await answer([first, second], "all", inWorker);
    assert.deepEqual(asked(), new Set((await names()).filter((name) => name !== first)));
    assert.deepEqual(all[first], one[first]);
    assert.deepEqual((await answer([second], "used", inWorker))[second], all[second]);
  });
}

test("a few small adapters come with their artifact unless it is told otherwise", async () => {
  await answer([]);
  assert.deepEqual(asked(), new Set(await names()));
});
