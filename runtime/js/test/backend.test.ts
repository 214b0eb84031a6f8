/** What reaches onnxruntime suits what a backend can do. A recorder sits around the real onnxruntime-node. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import * as native from "onnxruntime-node";
import type * as reactNative from "onnxruntime-react-native";
import type * as web from "onnxruntime-web";
import {
  AdapterError,
  ArtifactError,
  type ArtifactSource,
  type Backend,
  BackendError,
  type Capabilities,
  type Feeds,
  type Fetches,
  inPlaceCache,
  loadModel,
  type Model,
  type Ort,
  returnedCache,
  type Tensor,
} from "../src/backend.js";
import { folder } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

/** Fails to compile when a package no longer fits. */
type Fits<Package extends Ort> = Package;
export type All = [Fits<typeof native>, Fits<typeof web>, Fits<typeof reactNative>];

const FOLDER = join(CONFORMANCE, "tiny-int4");
const PROMPT = [7, 8, 9, 10, 11];
const CAN: Capabilities = {
  name: "recorded",
  allowsRankZero: true,
  loadsByPathOnly: false,
  cache: "in-place",
  cacheLocation: "cpu",
  hasInt8Cache: true,
};

function sourceOf(place: string): ArtifactSource {
  const graph = async (name: string) => ({ model: join(place, name) });
  return { ...folder(place), folder, prepare: async () => {}, graph };
}

const source = sourceOf(FOLDER);

interface Recorded {
  readonly model: Model;
  /** The inputs of every run. */
  readonly runs: Feeds[];
}

/** A model on the real package, with what it is fed. */
async function record(
  can: Partial<Capabilities>,
  place?: Backend["place"],
  wrong?: number,
  artifact: ArtifactSource = source,
): Promise<Recorded> {
  const runs: Feeds[] = [];
  const ort: Ort = {
    Tensor: native.Tensor,
    env: native.env,
    InferenceSession: {
      async create(graph: string | Uint8Array) {
        const session = await native.InferenceSession.create(graph as string, {
          intraOpNumThreads: 1,
          logSeverityLevel: 3,
        });
        return {
          inputMetadata: session.inputMetadata,
          outputMetadata: session.outputMetadata,
          release: () => session.release(),
          run: async (feeds: Feeds, fetches?: Fetches) => {
            runs.push({ ...feeds });
            const found = await session.run(feeds as never, (fetches ?? session.outputNames) as never);
            if (wrong !== undefined) ((found.logits as Tensor).data as Float32Array).fill(wrong);
            return found as Record<string, Tensor>;
          },
        };
      },
    },
  };
  const capabilities = { ...CAN, ...can };
  const makeCache = capabilities.cache === "returned" ? returnedCache : inPlaceCache;
  const backend: Backend = { ort, capabilities, sessionOptions: {}, makeCache, ...(place && { place }) };
  return { model: await loadModel(artifact, backend), runs };
}

const reference = await record({});
const answers = async (model: Model) => {
  const one = await model.generateIds(PROMPT, { maxNewTokens: 20 });
  const rows = await model.generateIds([PROMPT, [5, 6]], { maxNewTokens: 8, adapter: ["four", "none"] });
  return [one, rows, await model.generateIds(PROMPT, { maxNewTokens: 20, adapter: "one:0.5+eight" })];
};
const expected = await answers(reference.model);

function slotDims(feeds: Feeds): (readonly number[])[] {
  return Object.entries(feeds).flatMap(([name, tensor]) => (/lora_[AB]$/.test(name) ? [tensor.dims] : []));
}

test("where empty tensors are refused, no adapter is zeros of rank 1", async () => {
  const { model, runs } = await record({ allowsRankZero: false });
  assert.deepEqual(await answers(model), expected);
  assert.ok(
    runs.every(
      (feeds) =>
        slotDims(feeds).length === 16 &&
        slotDims(feeds)
          .flat()
          .every((size) => size > 0),
    ),
  );
  assert.ok(slotDims(runs[0] as Feeds).every((dims) => dims.filter((size) => size === 1).length === 2));
  assert.ok(slotDims(reference.runs[0] as Feeds).every((dims) => dims.includes(0)));
});

test("every way to keep the cache gives the same tokens", async () => {
  for (const cache of ["in-steps", "returned"] as const) {
    const { model } = await record({ cache });
    assert.deepEqual(await answers(model), expected, cache);
  }
});

test("a cache in place keeps its memory and grows; a returned one is as long as it must be", async () => {
  const capacities = async (cache: Capabilities["cache"]) => {
    const { model, runs } = await record({ cache });
    await model.generateIds(
      Array.from({ length: 60 }, (_, id) => id),
      { maxNewTokens: 10 },
    );
    return [...new Set(runs.map((feeds) => feeds["past_key_values.1.value"]?.dims[2]))];
  };
  assert.deepEqual(await capacities("in-place"), [256]);
  assert.deepEqual(await capacities("in-steps"), [64, 128]);
  assert.deepEqual(await capacities("returned"), [0, ...Array.from({ length: 9 }, (_, index) => 60 + index)]);
});

test("only what the cache does not hold is computed", async () => {
  const { model, runs } = await record({});
  const fed = async (call: Promise<unknown>) => {
    runs.length = 0;
    await call;
    return runs.map((feeds) => feeds.input_ids?.dims[1]);
  };
  const long = Array.from({ length: 100 }, (_, id) => id);
  assert.deepEqual(await fed(model.logits(long, { positions: [99] })), [100]);
  assert.deepEqual(await fed(model.logits([...long, 5, 6], { positions: [101] })), [2]);
  assert.deepEqual(await fed(model.logits([...long.slice(0, 60), 5], { positions: [60] })), [1]);
  assert.deepEqual(await fed(model.logits([...long.slice(0, 60), 5], { positions: [60], adapter: "one" })), [61]);
  assert.deepEqual(await fed(model.score(long.slice(0, 10), [3, 4, 5], { adapter: "one" })), [3]);
  const scored = await fed(model.generate("yes", { choices: ["yes", "yes no", "no"] }));
  assert.equal(scored.length, 4); // the prompt once, and of each choice what the one before it did not share
});

test("what stands before an invocation is computed once, for the base and all activated adapters", async () => {
  const activated = sourceOf(join(CONFORMANCE, "tiny-activated"));
  for (const cache of ["in-place", "in-steps", "returned"] as const) {
    const { model, runs } = await record({ cache }, undefined, undefined, activated);
    const { model: fresh } = await record({ cache }, undefined, undefined, activated);
    const words = (await model.tokenizer)?.encode(" the dog", false) ?? [];
    const context = Array.from({ length: 100 }, (_, id) => 20 + id);
    const [called, other] = [
      [...context, 5, 70],
      [...context, ...words, 71, 72],
    ];
    const fed = async (ids: number[], adapter: string) => {
      runs.length = 0;
      const found = await model.logits(ids, { positions: [ids.length - 1], adapter });
      const counts = runs.map((feeds) => feeds.input_ids?.dims[1]);
      await fresh.setAdapter("one"); // what the cache held is gone
      const [expected] = await fresh.logits(ids, { positions: [ids.length - 1], adapter });
      const far = Math.max(...(expected as Float32Array).map((value, at) => Math.abs(value - (found[0]?.[at] ?? 0))));
      assert.ok(far < 1e-4, `${adapter}: ${far}`);
      return counts;
    };
    assert.deepEqual(await fed(context, "none"), [100]);
    assert.deepEqual(await fed(called, "four"), [2]);
    assert.deepEqual(await fed(other, "eight"), [words.length + 2]);
    assert.deepEqual(await fed(called, "four:0.5"), [2]);
    await model.setAdapter("four");
    assert.deepEqual(await fed(called, "four"), [2]);
    assert.deepEqual(await fed(called, "four"), [1]);
    assert.deepEqual(await fed(called, "none"), [2]);
    // In the next turn the invocation stands further back: what was the adapter's is the base's now.
    assert.deepEqual(await fed(called, "four"), [2]);
    assert.deepEqual(await fed([...called, 80, 5, 81], "four"), [3, 2]);
    assert.deepEqual(await fed(called, "one"), [102]);
    assert.deepEqual(await fed(called, "four"), [100, 2]);
    await assert.rejects(
      model.generateIds(context, { adapter: "four" }),
      /token ids 5\), which the prompt does not have/,
    );
    await assert.rejects(model.generateIds(called, { adapter: "four+one" }), /four acts from its invocation on and no/);
    await model.dispose();
    await fresh.dispose();
  }
});

test("every tensor has memory of its own, as onnxruntime-react-native needs it", async () => {
  const { model, runs } = await record({});
  await answers(model);
  for (const [name, tensor] of runs.flatMap((feeds) => Object.entries(feeds))) {
    const { byteOffset, byteLength, buffer } = tensor.data as Float32Array;
    assert.ok(byteOffset === 0 && byteLength === buffer.byteLength, name);
  }
});

test("slot inputs are placed once for each adapter, and freed when it goes", async () => {
  const placed: { dims: readonly number[]; isFreed: boolean }[] = [];
  const { model } = await record({}, (data, dims) => {
    const entry = { dims, isFreed: false };
    placed.push(entry);
    const tensor = new native.Tensor("float32", data, dims);
    return Object.assign(tensor, { dispose: () => (entry.isFreed = true) });
  });
  assert.deepEqual(await answers(model), expected);
  const count = placed.length;
  assert.deepEqual(await answers(model), expected);
  assert.equal(placed.length, count);
  await model.generateIds(PROMPT, { maxNewTokens: 1, adapter: "one" });
  await model.loadAdapter("one", join(FOLDER, "adapters/one"));
  assert.equal(placed.filter((entry) => entry.isFreed).length, 16 + 16); // itself and the blend, not the rows without it
  assert.deepEqual(await answers(model), expected);
  await model.dispose();
  assert.deepEqual(
    placed.filter((entry) => !entry.isFreed),
    [],
  );
});

test("numbers that are none are refused with the name of the place", async () => {
  const broken = await record({}, undefined, Number.NaN);
  const isRight = (error: unknown) =>
    error instanceof BackendError && /^recorded computed NaN where a number is due; load .* "wasm"/.test(error.message);
  await assert.rejects(broken.model.generateIds(PROMPT), isRight);
  await assert.rejects(broken.model.generateIds([PROMPT, PROMPT], { temperature: 1 }), isRight);
  await assert.rejects(broken.model.score(PROMPT, [1]), isRight);
});

test("a failed load leaves no session behind", async () => {
  const released: string[] = [];
  const made: string[] = [];
  const create = async (graph: string | Uint8Array) => {
    if (made.length === 1 && isSecondBroken) throw new Error("no such graph");
    made.push(graph as string);
    const session = await native.InferenceSession.create(graph as string, { logSeverityLevel: 3 });
    return {
      inputMetadata: session.inputMetadata,
      outputMetadata: session.outputMetadata,
      run: (feeds: Feeds) => session.run(feeds as never) as Promise<Record<string, Tensor>>,
      release: async () => {
        released.push(graph as string);
        await session.release();
      },
    };
  };
  let isSecondBroken = true;
  const ort = { Tensor: native.Tensor, env: native.env, InferenceSession: { create } } as Ort;
  const capabilities: Capabilities = { ...CAN, cache: "returned" };
  const backend: Backend = { ort, capabilities, sessionOptions: {}, makeCache: returnedCache };
  await assert.rejects(loadModel(source, backend, { twin: true }), /no such graph/);
  assert.deepEqual(released, made);
  isSecondBroken = false;
  const receipt = { format_version: 1, base: { fingerprint: "0".repeat(64) } };
  const foreign: ArtifactSource = {
    ...source,
    has: async (name) => name.endsWith("receipt.json") || source.has(name),
    bytes: async (name) =>
      name.endsWith("receipt.json") ? new TextEncoder().encode(JSON.stringify(receipt)) : source.bytes(name),
  };
  await assert.rejects(loadModel(foreign, backend, { probe: true }), AdapterError);
  assert.deepEqual(released, made);
});

test("a place that loads by path alone refuses bytes", async () => {
  const capabilities = { ...CAN, loadsByPathOnly: true };
  const backend: Backend = { ort: native, capabilities, sessionOptions: {}, makeCache: inPlaceCache };
  const bytes: ArtifactSource = { ...source, graph: async (graph) => ({ model: await source.bytes(graph) }) };
  await assert.rejects(
    loadModel(bytes, backend),
    (error) =>
      error instanceof ArtifactError && /recorded loads graphs by path alone; give a folder/.test(error.message),
  );
});

test("an artifact with a cache of 8 bits is refused where attention cannot keep one", async () => {
  const path = join(CONFORMANCE, "tiny-cache");
  const eight: ArtifactSource = { ...source, ...folder(path), graph: async (graph) => ({ model: join(path, graph) }) };
  const backend: Backend = { ort: native, capabilities: CAN, sessionOptions: {}, makeCache: inPlaceCache };
  const model = await loadModel(eight, backend);
  assert.equal((await model.generateIds(PROMPT, { maxNewTokens: 3 })).length, 3);
  await model.dispose();
  const capabilities = { ...CAN, hasInt8Cache: false };
  await assert.rejects(
    loadModel(eight, { ...backend, capabilities }),
    (error) => error instanceof ArtifactError && /recorded has no KV cache of 8 bits; export/.test(error.message),
  );
});
