/** A device that fails: the model goes on elsewhere where it may, and says what happened where it may not. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import * as native from "onnxruntime-node";
import {
  type ArtifactSource,
  type Backend,
  BackendError,
  type Capabilities,
  type EncoderModel,
  type Feeds,
  loadModel,
  type Model,
  type Ort,
  returnedCache,
  type Tensor,
} from "../src/backend.js";
import { folder, load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const FOLDER = join(CONFORMANCE, "tiny-int4");
const PROMPT = [7, 8, 9, 10, 11];
const OPTIONS = { maxNewTokens: 12 };
const CAN: Capabilities = {
  name: "the device",
  allowsRankZero: true,
  loadsByPathOnly: false,
  cache: "returned",
  cacheLocation: "cpu",
  hasInt8Cache: true,
};

function sourceOf(path: string): ArtifactSource {
  return { ...folder(path), folder, prepare: async () => {}, graph: async (graph) => ({ model: join(path, graph) }) };
}

/** What the device does with a run that would be right. */
type Fault = (results: Record<string, Tensor>) => void;
const NAN: Fault = (results) => {
  for (const { data } of Object.values(results)) if (data instanceof Float32Array) data.fill(Number.NaN);
};
const LOST: Fault = () => {
  throw new BackendError("the GPU was lost (for a test); reload the page", "device-lost");
};

/** The real package, whose runs fail from `fault.from` on. */
function backend(fault: { from: number; how: Fault } | null, more: Partial<Backend> = {}) {
  const log = { runs: 0, opened: 0, released: 0 };
  const create = async (graph: string | Uint8Array) => {
    const options = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    const session = await native.InferenceSession.create(graph as string, options);
    log.opened += 1;
    return {
      inputMetadata: session.inputMetadata,
      outputMetadata: session.outputMetadata,
      release: async () => {
        log.released += 1;
        await session.release();
      },
      run: async (feeds: Feeds) => {
        const results = (await session.run(feeds as never)) as Record<string, Tensor>;
        if (fault !== null && ++log.runs >= fault.from) fault.how(results);
        return results;
      },
    };
  };
  const ort = { Tensor: native.Tensor, env: native.env, InferenceSession: { create } } as Ort;
  const made: Backend = { ort, capabilities: CAN, sessionOptions: {}, makeCache: returnedCache, ...more };
  return { backend: made, log };
}

/** A device that fails with a place to go on beside it, and the faults that were told. */
async function open(from: number, how: Fault) {
  const told: string[] = [];
  const other = backend(null, { capabilities: { ...CAN, name: "the other place" } });
  const placed = { count: 0, freed: 0 };
  const first = backend(
    { from, how },
    {
      place: (data, dims) => {
        placed.count += 1;
        return Object.assign(new native.Tensor("float32", data, dims), { dispose: () => (placed.freed += 1) });
      },
      fallback: async ({ fault }) => {
        told.push(fault);
        return other.backend;
      },
    },
  );
  const model: Model = await loadModel(sourceOf(FOLDER), first.backend);
  return { model, told, placed, first: first.log, other: other.log };
}

const reference = await load(FOLDER, { threads: 1 });
const answers = async (model: Model) => {
  await model.loadAdapter("mine", join(FOLDER, "adapters/one"));
  await model.setAdapter("four:0.5+mine");
  return [
    await model.generateIds(PROMPT, OPTIONS),
    await model.generateIds(PROMPT, { ...OPTIONS, adapter: "eight" }),
    await model.generateIds([PROMPT, [5, 6]], { ...OPTIONS, adapter: ["four", "none"] }),
    (await model.logits(PROMPT)).length,
    (await model.generate("yes", { choices: ["no", "maybe"] })).text,
  ];
};
const expected = await answers(reference);
await reference.dispose();

for (const [name, how, code] of [
  ["numbers that are none", NAN, "no-numbers"],
  ["a lost device", LOST, "device-lost"],
] as const) {
  test(`${name}: every call is answered elsewhere, with the adapters as they were`, async () => {
    for (const from of [1, 4, 20, 40]) {
      const { model, told, placed, first, other } = await open(from, how);
      assert.equal(model.backend, "the device");
      assert.deepEqual(await answers(model), expected);
      assert.deepEqual(told, [code]);
      assert.equal(model.backend, "the other place");
      assert.equal(model.adapter, "four:0.5+mine");
      assert.equal(placed.freed, placed.count);
      await model.dispose();
      assert.equal(first.opened, first.released);
      assert.equal(other.opened, other.released);
    }
  });
}

test("without another place the fault is told, and the model can be disposed of", async () => {
  const { backend: lonely, log } = backend({ from: 3, how: NAN });
  const model = await loadModel(sourceOf(FOLDER), lonely);
  await assert.rejects(
    model.generateIds(PROMPT, OPTIONS),
    (error) => error instanceof BackendError && error.fault === "no-numbers" && /computed NaN/.test(error.message),
  );
  await model.dispose();
  assert.equal(log.opened, log.released);
});

test("an answer that is being read goes on in the other place where it was", async () => {
  for (const from of [1, 2, 4, 9]) {
    const { model, told } = await open(from, LOST);
    const sound = await load(FOLDER, { threads: 1 });
    const options = { maxNewTokens: 30, temperature: 1, seed: 3, adapter: "four" } as const;
    for (const prompt of [["Hello"], ["Hello", "You"]]) {
      const [pieces, expectedPieces]: unknown[][] = [[], []];
      for await (const piece of model.generate(prompt, options)) pieces?.push(piece);
      for await (const piece of sound.generate(prompt, options)) expectedPieces?.push(piece);
      assert.deepEqual(pieces, expectedPieces);
      const found = await model.generate(prompt, { ...options, choices: ["no", "maybe"], temperature: 0 });
      assert.deepEqual(
        found.map(({ text }) => text),
        (await sound.generate(prompt, { ...options, choices: ["no", "maybe"], temperature: 0 })).map(
          (item) => item.text,
        ),
      );
    }
    assert.deepEqual(told, ["device-lost"]);
    await model.dispose();
    await sound.dispose();
  }
});

test("an encoder moves as well", async () => {
  const path = join(CONFORMANCE, "encoder-topics");
  const other = backend(null);
  const first = backend({ from: 2, how: NAN }, { fallback: async () => other.backend });
  const model = (await loadModel(sourceOf(path), first.backend, { task: "text-classification" })) as EncoderModel;
  const [adapter = "none"] = model.adapters;
  const rows = [
    [5, 6, 7],
    [8, 9],
  ];
  const sound = await model.outputs(rows, { adapter });
  assert.deepEqual(await model.outputs(rows, { adapter }), sound);
  assert.equal(other.log.opened, 1);
  await model.dispose();
  assert.equal(first.log.opened, first.log.released);
});
