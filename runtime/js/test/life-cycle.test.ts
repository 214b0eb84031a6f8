/** Loading, calls and disposing end when they are told to: with the reason, at once, and with nothing left open. */

import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import type { FolderSource, Watch } from "../src/core/files.js";
import { folder, load } from "../src/node.js";
import { copyArtifact } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const FOLDER = join(CONFORMANCE, "tiny-int4");
const PROMPT = [7, 8, 9, 10, 11];
const LONG = { maxNewTokens: 300, temperature: 1, seed: 1 };
const GONE = /^InputError: this model was disposed of; load the artifact again$/;
const model = await load(FOLDER, { threads: 1 });
after(() => model.dispose());

test("every call that waits or computes rejects at once with the reason of its signal", async () => {
  const reason = new Error("enough");
  const ending = new AbortController();
  const { signal } = ending;
  const running = model.generateIds(PROMPT, { ...LONG, adapter: "four" });
  const calls: Record<string, Promise<unknown>> = {
    generateIds: model.generateIds(PROMPT, { signal }),
    generate: model.generate("x", { signal }),
    logits: model.logits(PROMPT, { signal }),
    score: model.score(PROMPT, [1], { signal }),
    probe: model.probe("one", { signal }),
    setAdapter: model.setAdapter("one", { signal }),
    loadAdapter: model.loadAdapter("mine", join(FOLDER, "adapters/one"), { signal }),
    unloadAdapter: model.unloadAdapter("four", { signal }),
  };
  let isOver = false;
  void running.then(() => (isOver = true));
  ending.abort(reason);
  for (const [name, call] of Object.entries(calls)) {
    await assert.rejects(call, (error) => error === reason, name);
    assert.ok(!isOver, `${name} waited for the call before it`);
  }
  for (const call of Object.values(calls)) await call.catch(() => {});
  assert.equal((await running).length, 300);
  await model.generateIds(PROMPT, { maxNewTokens: 1 }); // those that were ended had their turn before it
  assert.equal(model.adapter, "none");
  assert.deepEqual(model.adapters, ["one", "four", "eight"]);
});

/** The adapter "four", of which a file comes when `gate` lets it. */
function slowFolder(gate: Promise<void>, readings: Watch[]): FolderSource {
  const source = folder(join(FOLDER, "adapters/four"));
  const reading = (watch: Watch): FolderSource => {
    readings.push(watch);
    const bytes = async (name: string) => {
      await gate;
      const found = await source.bytes(name);
      watch.onProgress?.({ file: name, loadedBytes: found.length, totalBytes: found.length });
      return found;
    };
    return { ...source, bytes };
  };
  return { ...source, bytes: () => assert.fail("a folder that takes time is read by readings alone"), reading };
}

test("an adapter that is aborted while it comes is not there; its progress is told, and nothing of it is kept", async () => {
  const readings: Watch[] = [];
  const ending = new AbortController();
  let open = () => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  const aborted = model.loadAdapter("slow", slowFolder(gate, readings), { signal: ending.signal });
  while (readings.length === 0) await new Promise((resolve) => setImmediate(resolve));
  ending.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  assert.ok(readings[0]?.signal?.aborted);
  open();
  const files: string[] = [];
  await model.loadAdapter("slow", slowFolder(gate, readings), { onProgress: ({ file }) => files.push(file) });
  assert.deepEqual(files, ["adapter_config.json", "adapter_model.safetensors"]);
  assert.deepEqual(model.adapters, ["one", "four", "eight", "slow"]);
  const ids = await model.generateIds(PROMPT, { adapter: "slow" });
  assert.deepEqual(ids, await model.generateIds(PROMPT, { adapter: "four" }));
  assert.equal(readings.length, 2); // packed, and not read again
  await model.unloadAdapter("slow");
});

test("an adapter whose receipt is of other factors is refused when it is loaded, unless it is trusted", async () => {
  const { fingerprint } = model.manifest.base;
  const receipt = { format_version: 1, base: { fingerprint }, weights: "c".repeat(64) };
  const source = folder(join(FOLDER, "adapters/four"));
  const told: FolderSource = {
    ...source,
    has: async (name) => name === "receipt.json" || source.has(name),
    bytes: async (name) =>
      name === "receipt.json" ? new TextEncoder().encode(JSON.stringify(receipt)) : source.bytes(name),
  };
  await assert.rejects(
    model.loadAdapter("told", told),
    /^AdapterError: adapter "told" \(.*\): the receipt belongs to other factors: adapter_model\.safetensors has sha256 [0-9a-f]{12}, the receipt says c{12}; copy the whole folder again$/,
  );
  assert.ok(!model.adapters.includes("told"));
  await model.loadAdapter("told", told, { trust: true });
  await model.unloadAdapter("told");
});

test("a tokenizer that could not be read once is read the next time", async (context) => {
  const copy = await copyArtifact(context, "tiny-int4");
  const path = join(copy, model.manifest.tokenizer?.file ?? "");
  const fresh = await load(copy, { threads: 1 });
  context.after(() => fresh.dispose());
  await rename(path, `${path}.away`);
  await assert.rejects(fresh.generate("Hello"), /tokenizer\.json cannot be read/);
  await rename(`${path}.away`, path);
  assert.ok((await fresh.generate("Hello", { maxNewTokens: 2 })).tokenIds.length > 0);
});

test("a model in wasm that gets other threads than it asked for says so", async () => {
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  const options = { runtime: "wasm", onWarning } as const;
  const models = [await load(FOLDER, { ...options, threads: 1 }), await load(FOLDER, { ...options, threads: 1 })];
  assert.deepEqual(warnings, []);
  models.push(await load(FOLDER, { ...options, threads: 2 }));
  assert.equal(warnings.length, 1);
  assert.match(
    warnings.join(),
    /^onnxruntime-web was started with 1 threads for the first model of this process, not with the 2 of this one/,
  );
  for (const item of models) await item.dispose();
});

test("what is no number is refused, and nothing goes on from it", async () => {
  const vast = { maxNewTokens: 4, adapter: "one:1e38" };
  const sound = { maxNewTokens: 8, adapter: "one" };
  const expected = await model.generateIds(PROMPT, sound);
  const calls: (() => PromiseLike<unknown>)[] = [
    () => model.generateIds(PROMPT, vast),
    () => model.generateIds([PROMPT, [5, 6]], { ...vast, adapter: ["none", "one:1e38"] }),
    () => model.logits(PROMPT, vast),
    () => model.score(PROMPT, [7, 8], vast),
    () => model.generate("yes", { ...vast, choices: ["no", "maybe"] }),
  ];
  for (const call of calls) {
    for (let turn = 0; turn < 2; turn++) {
      const refused = Promise.resolve(call());
      await assert.rejects(refused, /^BackendError: onnxruntime-node, CPU computed NaN where a number is due; load/);
    }
    assert.deepEqual(await model.generateIds(PROMPT, sound), expected);
  }
});

test("disposing ends an answer at its next step, settles what waits, and may be asked for twice", async () => {
  const gone = await load(FOLDER, { threads: 1 });
  const answer = gone.generateIds(PROMPT, LONG);
  const waiting = gone.setAdapter("one");
  const refused = [answer, waiting].map((call) => assert.rejects(call, GONE));
  await new Promise((resolve) => setTimeout(resolve, 20)); // some tokens are there
  const started = performance.now();
  const [first, second] = [gone.dispose(), gone.dispose()];
  assert.equal(first, second);
  await first;
  const took = performance.now() - started;
  await Promise.all(refused);
  await gone.dispose();
  const whole = performance.now();
  await model.generateIds(PROMPT, LONG);
  assert.ok(took < (performance.now() - whole) / 2, `${took} ms to dispose of a model in the middle of an answer`);
});

test("disposing ends a stream at its next piece", async () => {
  const gone = await load(FOLDER, { threads: 1 });
  const pieces: string[] = [];
  await assert.rejects(async () => {
    for await (const piece of gone.generate("Hello", LONG)) {
      pieces.push(piece);
      if (pieces.length === 2) await gone.dispose();
    }
  }, GONE);
  assert.equal(pieces.length, 2);
});

test("`await using` disposes of the model", async () => {
  const kept = await load(FOLDER, { threads: 1 });
  {
    await using inside = kept;
    assert.equal((await inside.generateIds(PROMPT, { maxNewTokens: 2 })).length, 2);
  }
  await assert.rejects(kept.generateIds(PROMPT), GONE);
});

test("a load that is aborted rejects with the reason, whenever it was, and the signal ends with the load", async () => {
  await assert.rejects(load(FOLDER, { signal: AbortSignal.abort(new Error("before")) }), /^Error: before$/);
  const loading = new AbortController();
  const call = load(FOLDER, { threads: 1, probe: true, signal: loading.signal });
  setImmediate(() => loading.abort(new Error("during")));
  await assert.rejects(call, /^Error: during$/);
  const after = new AbortController();
  const loaded = await load(FOLDER, { threads: 1, signal: after.signal });
  after.abort(new Error("after"));
  assert.equal((await loaded.generateIds(PROMPT, { maxNewTokens: 2, adapter: "four" })).length, 2);
  await loaded.dispose();
});
