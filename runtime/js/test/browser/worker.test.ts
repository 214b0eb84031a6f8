/** A model in a worker: the same answers as in the page, which stays free meanwhile. */

import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import type { Model, RemoteModel, WebModel } from "../../src/web.js";
import { type Bench, bench, bundle } from "./browser.js";
import { launch } from "./drivers.js";
import type {} from "./page.js";
import type { TestServer } from "./server.js";

let browser: Browser;
let place: Bench;

before(async () => {
  browser = await launch();
  place = await bench(browser);
  await place.page.evaluate(async () => {
    const options = { backend: "wasm", wasmPaths: "/ort/", threads: 1 } as const;
    Object.assign(globalThis, {
      remote: await edgelora.loadInWorker("/conformance/tiny-float", options),
      local: await edgelora.load("/conformance/tiny-float", options),
    });
  });
});
after(async () => {
  await place.close();
  await browser.close();
});

declare global {
  var remote: RemoteModel;
  var local: WebModel;
}

test("a stream gives the pieces of the whole answer, a tokenizer the same ids", async () => {
  const found = await place.page.evaluate(async () => {
    const pieces: string[] = [];
    const same = remote.generate("hello", { adapter: "four", maxNewTokens: 20 });
    for await (const piece of same) pieces.push(piece);
    const whole = await local.generate("hello", { adapter: "four", maxNewTokens: 20 });
    const ids = [(await remote.tokenizer)?.encode("hello"), (await local.tokenizer)?.encode("hello")];
    return { pieces, whole, same: await same, ids };
  });
  assert.ok(found.pieces.length > 1);
  assert.equal(found.pieces.join(""), found.whole.text);
  assert.ok((found.same.timings.tokensPerSecond ?? 0) > 0);
  assert.deepEqual(found.same, { ...found.whole, timings: found.same.timings });
  assert.deepEqual(found.ids[0], found.ids[1]);
  assert.ok((found.ids[0]?.length ?? 0) > 0);
});

test("rows of a batch come side by side, each with its adapter", async () => {
  const found = await place.page.evaluate(async () => {
    const options = { adapter: ["none", "four"], maxNewTokens: 20 };
    const answers = remote.generate(["hello", "hello"], options);
    const pieces: { row: number; text: string }[] = [];
    for await (const piece of answers) pieces.push(piece);
    return { pieces, whole: await answers, local: await local.generate(["hello", "hello"], options) };
  });
  for (const [row, { text }] of found.local.entries()) {
    const mine = found.pieces.filter((piece) => piece.row === row);
    assert.deepEqual([mine.map((piece) => piece.text).join(""), found.whole[row]?.text], [text, text]);
  }
  assert.notEqual(found.local[0]?.text, found.local[1]?.text);
  const changes = found.pieces.filter(({ row }, index) => index > 0 && row !== found.pieces[index - 1]?.row);
  assert.ok(changes.length > 3, JSON.stringify(found.pieces)); // not one after the other
});

test("adapters and the SPEC in use are known in the page, and other models' adapters are refused", async () => {
  const found = await place.page.evaluate(async () => {
    const before = [...remote.adapters];
    await remote.setAdapter("four:0.5+one:0.5");
    const spec = remote.adapter;
    const names = ["adapter_config.json", "adapter_model.safetensors"];
    const folder = async (where: string) => {
      const files = names.map(async (name) => new File([await (await fetch(`${where}/${name}`)).blob()], name));
      return edgelora.filesFolder(await Promise.all(files), "dropped files");
    };
    await remote.loadAdapter("again", await folder("/conformance/tiny-float/adapters/four"));
    const twice = ["again", "four"].map((adapter) => remote.generateIds([5, 6, 7], { adapter, maxNewTokens: 6 }));
    const fetched = remote.loadAdapter("fetched", "/conformance/tiny-float/adapters/one").then(() => remote.adapters);
    const foreign = await remote
      .loadAdapter("foreign", await folder("/conformance/tiny-int4/adapters/four"))
      .catch((error) => ({ isOurs: error instanceof edgelora.AdapterError, message: error.message }));
    const nowhere = await remote
      .loadAdapter("x", "/conformance/nowhere")
      .catch((error) => `${error.name}: ${error.message}`);
    await remote.setAdapter("none");
    return { nowhere, before, spec, twice: await Promise.all(twice), fetched: await fetched, foreign };
  });
  assert.deepEqual(found.before, ["one", "four", "eight"]);
  assert.equal(found.spec, "four:0.5+one:0.5");
  assert.deepEqual(found.twice[0], found.twice[1]);
  assert.ok(found.fetched.includes("again") && found.fetched.includes("fetched"));
  assert.match(
    found.nowhere as string,
    /^AdapterError: http.*\/nowhere has no adapter_config\.json; expected a folder/,
  );
  assert.ok(found.foreign?.isOurs);
  assert.match(found.foreign?.message, /in_features|out_features|columns|rows|expected/);
});

test("the memory that wasm has taken is told", async () => {
  const bytes = await place.page.evaluate(() => remote.wasmBytes());
  assert.ok(bytes >= 16 << 20 && bytes % 65536 === 0 && bytes < 1 << 30, `${bytes} bytes`);
});

test("an abort ends a call at once with the signal's reason, and the model stays usable", async () => {
  const found = await place.page.evaluate(async () => {
    const ending = new AbortController();
    const pieces: string[] = [];
    let error: unknown;
    try {
      const options = { maxNewTokens: 300, temperature: 1, seed: 1, signal: ending.signal } as const;
      for await (const piece of remote.generate("hello", options)) {
        pieces.push(piece);
        if (pieces.length === 3) ending.abort(new Error("enough"));
      }
    } catch (caught) {
      error = (caught as Error).message;
    }
    const left: string[] = [];
    const answer = remote.generate("hello", { maxNewTokens: 300, temperature: 1, seed: 1 });
    for await (const piece of answer) {
      left.push(piece);
      if (left.length === 2) break;
    }
    const stopped = await answer;
    const aborted = await remote
      .generateIds([5, 6], { signal: AbortSignal.abort() })
      .catch((caught: Error) => caught.name);
    return {
      count: pieces.length,
      error,
      aborted,
      left,
      stopped,
      after: await remote.generateIds([5, 6, 7], { maxNewTokens: 3 }),
    };
  });
  assert.equal(found.count, 3);
  assert.equal(found.error, "enough");
  assert.equal(found.aborted, "AbortError");
  assert.equal(found.stopped.finishReason, "cancelled");
  assert.ok(found.stopped.text.startsWith(found.left.join("")) && found.stopped.tokenIds.length < 300);
  assert.equal(found.after.length, 3);
});

test("the page handles events while the worker answers; in the page between two tokens", async () => {
  const turns = await place.page.evaluate(async () => {
    const count = async (model: Model) => {
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      await model.generateIds([5, 6, 7], { maxNewTokens: 200, temperature: 1.5, seed: 3 });
      clearInterval(timer);
      return turns;
    };
    return { remote: await count(remote), local: await count(local) };
  });
  assert.ok(turns.remote > 3, `${turns.remote} turns beside the worker`);
  assert.ok(turns.local > 1, `${turns.local} turns in the page`);
});

test("bad options are refused with their class; a model that was disposed of answers nothing", async () => {
  const found = await place.page.evaluate(async () => {
    const options = { backend: "wasm", wasmPaths: "/ort/" } as const;
    const model = await edgelora.loadInWorker("/conformance/tiny-float", options);
    const bad = await model.generate("hello", { maxNewTokens: 0 }).catch((error) => error);
    await model.dispose();
    const gone = await model.generate("hello").catch((error) => error);
    const absent = await edgelora
      .loadInWorker("/conformance/tiny-float", { ...options, worker: new Worker("/lib/absent.js", { type: "module" }) })
      .catch((error) => error);
    return [bad, gone, absent].map((error) => [error.name, error.message] as const);
  });
  assert.deepEqual(found[0], ["InputError", "maxNewTokens is 0, expected a whole number from 1"]);
  assert.match(found[1]?.join() as string, /InputError,this model was disposed of; load the artifact again/);
  assert.match(found[2]?.join() as string, /BackendError,the worker stopped \(.+\); reload the page/);
});

/** The worker's texts that a page has asked its server for. */
function texts(server: TestServer): string[] {
  const names = server.requests.map(({ path }) => /\/worker-([a-z-]+)-[0-9A-Z]{8}[-.]/.exec(path)?.[1]);
  return names.filter((name) => name !== undefined);
}

test("the page fetches those parts of the worker that its model needs, when it needs them", async () => {
  const other = await bench(browser);
  try {
    const options = { backend: "wasm", wasmPaths: "/ort/", threads: 1 } as const;
    await other.page.evaluate(async (options) => {
      Object.assign(globalThis, { remote: await edgelora.loadInWorker("/conformance/tiny-float", options) });
    }, options);
    const opened = texts(other.server);
    assert.ok(opened.includes("text-model") && !opened.includes("whole"), opened.join());
    await other.page.evaluate(async () => void (await remote.generate("hello", { maxNewTokens: 2 })));
    const written = texts(other.server);
    assert.ok(written.includes("tokenizers") && !opened.includes("tokenizers"), written.join());
    assert.ok(!written.includes("encoder-model") && !written.includes("forms"), written.join());

    const { lib } = await bundle();
    const forms = (await readdir(lib)).find((name) => name.startsWith("worker-forms-"));
    other.server.faults.set(`/lib/${forms}`, { status: 500 });
    const failed = await other.page.evaluate(async () => {
      const error = await remote.generate("hello", { regex: "[ab]+", maxNewTokens: 2 }).catch((error) => error);
      return [error.name, error.message, (await remote.generate("hello", { maxNewTokens: 2 })).tokenIds.length];
    });
    assert.equal(failed[0], "ConnectionError");
    assert.match(failed[1] as string, /^a part of this page, forms-\w+, did not come \(.+\); try again$/);
    assert.equal(failed[2], 2);
  } finally {
    await other.close();
  }
});

test("where a policy lets no worker import what the page made, the worker comes in one file", async () => {
  const other = await bench(browser);
  try {
    const found = await other.page.evaluate(async () => {
      const policy = document.createElement("meta");
      policy.httpEquiv = "Content-Security-Policy";
      policy.content = "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:";
      document.head.append(policy);
      const model = await edgelora.loadInWorker("/conformance/tiny-float", { backend: "wasm", wasmPaths: "/ort/" });
      return (await model.generate("hello", { maxNewTokens: 2 })).tokenIds.length;
    });
    assert.equal(found, 2);
    assert.deepEqual(
      texts(other.server).filter((name) => name !== "source"),
      ["whole"],
    );
  } finally {
    await other.close();
  }
});
