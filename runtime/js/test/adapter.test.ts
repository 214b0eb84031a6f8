/** PEFT folders are read, refused, packed, blended and stacked as the Python runtime does it. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type Adapter, fitAdapter, readAdapter } from "../src/core/adapter.js";
import { AdapterError } from "../src/core/errors.js";
import type { Slot } from "../src/core/format.js";
import { parseManifest } from "../src/core/manifest.js";
import { packAdapter } from "../src/core/pack-adapter.js";
import { blendPacked, isNothing, type SlotMatrices, slotInputs } from "../src/core/packing.js";
import { folder } from "../src/node.js";
import { float32, memoryFolder, type TensorToWrite, writeSafetensors } from "./folders.js";
import { CONFORMANCE } from "./places.js";

type Tensors = Record<string, TensorToWrite>;

const PREFIX = "base_model.model.";
const SLOT: Slot = {
  name: "qkv",
  a: "qkv.a",
  b: "qkv.b",
  gain: null,
  inFeatures: 3,
  outFeatures: 7,
  parts: [
    { module: "m.q_proj", offset: 0, outFeatures: 4 },
    { module: "m.k_proj", offset: 4, outFeatures: 1 },
    { module: "m.v_proj", offset: 5, outFeatures: 2 },
  ],
};
const CONFIG = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj", "v_proj"] };

function pair(module: string, outFeatures: number, rank = 2, start = 1): Tensors {
  return {
    [`${PREFIX}${module}.lora_A.weight`]: float32([rank, 3], (index) => start + index),
    [`${PREFIX}${module}.lora_B.weight`]: float32([outFeatures, rank], (index) => start - index / 2),
  };
}

const TENSORS: Tensors = { ...pair("m.q_proj", 4), ...pair("m.v_proj", 2, 2, 5) };

function source(tensors: Tensors, config: object) {
  const files = {
    "adapter_config.json": JSON.stringify(config),
    "adapter_model.safetensors": writeSafetensors(tensors),
  };
  return memoryFolder(files, "it");
}

function read(tensors: Tensors = TENSORS, config: object = {}): Promise<Adapter> {
  return readAdapter(source(tensors, { ...CONFIG, ...config }));
}

function isRefusal(message: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof AdapterError, String(error));
    assert.match(error.message, message);
    return true;
  };
}

async function refused(tensors: Tensors, config: object, message: RegExp): Promise<void> {
  await assert.rejects(read(tensors, config), isRefusal(message));
}

async function unfit(tensors: Tensors, config: object, message: RegExp): Promise<void> {
  const adapter = await read(tensors, config);
  assert.throws(() => fitAdapter(adapter, [SLOT], "adapter x"), isRefusal(message));
}

test("a folder that is no PEFT folder is refused", async () => {
  const weights = writeSafetensors(TENSORS);
  const config = JSON.stringify(CONFIG);
  const refusal = (files: Record<string, string | Uint8Array>, message: RegExp) =>
    assert.rejects(readAdapter(memoryFolder(files, "it")), isRefusal(message));
  await refusal({}, /^it has no adapter_config\.json; expected a folder saved by PEFT$/);
  await refusal(
    { "adapter_config.json": config },
    /^it has no adapter_model\.safetensors; save the adapter with safe_/,
  );
  await refusal(
    { "adapter_config.json": config, "adapter_model.bin": "x" },
    /^it has no adapter_model\.safetensors but adapter_model\.bin, which can run code when it is opened; save the/,
  );
  const both = { "adapter_config.json": config, "adapter_model.safetensors": weights };
  await refusal(
    { ...both, "adapter_config.json": "{" },
    /adapter_config\.json is not JSON \(.+\); save the adapter again/,
  );
  await refusal({ ...both, "adapter_config.json": "[]" }, /adapter_config\.json holds \[\], expected an object/);
  await refusal(
    { ...both, "adapter_model.safetensors": weights.subarray(0, -8) },
    /the file is damaged, copy it again/,
  );
});

test("what is not plain LoRA is refused, every reason in one line", async () => {
  await refused(
    TENSORS,
    { peft_type: "IA3", use_dora: true, bias: "all", r: 0, modules_to_save: ["lm_head"], init_lora_weights: "PiSSA_4" },
    /^it\/adapter_config\.json cannot be used: peft_type is "IA3", expected "LORA"; it uses DoRA; bias is "all", expected "none"; init_lora_weights is "PiSSA_4", which changes the base; .*; r is 0, expected a whole number from 1 to 65536; it uses fully trained modules \(modules_to_save\), which only the head of an encoder can be; expected plain LoRA as PEFT saves it; `edgelora adapter convert` .*$/,
  );
  await refused(
    TENSORS,
    { rank_pattern: { "(": 2 } },
    /rank_pattern: the pattern "\(" cannot be used: a '\(' is not closed/,
  );
  await refused(TENSORS, { alpha_pattern: { q: -1 } }, /alpha_pattern of "q" is -1, expected a number above 0/);
});

test("what PEFT writes for unused options is no reason to refuse", async () => {
  const unused = { use_dora: false, modules_to_save: null, layer_replication: [], alpha_pattern: {}, loftq_config: {} };
  assert.equal((await read(TENSORS, unused)).factors.size, 2);
});

test("tensors that are no factors are refused, each by name", async () => {
  const q = `${PREFIX}m.q_proj`;
  const all = {
    ...TENSORS,
    "m.q_proj.magnitude": float32([1], () => 1),
    [`${PREFIX}m.k_proj.lora_A.weight`]: float32([2, 3], () => 1),
    [`${q}.lora_A.weight`]: float32([2, 3], () => Number.NaN),
    [`${PREFIX}m.v_proj.lora_B.weight`]: { dtype: "I32", shape: [2, 2], data: new Int32Array(4) },
  };
  await refused(
    all,
    {},
    /q_proj\.lora_A\.weight holds numbers that are not finite; .*v_proj\.lora_B\.weight is I32 \[2,2\], expected two dimensions of floats; m\.q_proj\.magnitude is no LoRA factor; m\.k_proj: lora_B is missing; m\.q_proj: lora_A is missing; m\.v_proj: lora_B is missing; expected plain/,
  );
  await refused(TENSORS, { r: 3 }, /m\.q_proj: ranks of A and B are 2 and 2, the config says 3; m\.v_proj: ranks/);
  await refused({}, {}, /adapter_model\.safetensors holds no tensors/);
});

test("what nobody reads is noted, and so is a tensor under two names where both are equal", async () => {
  const q = "m.q_proj.lora_A.weight";
  const twice = { ...TENSORS, [q]: TENSORS[`${PREFIX}${q}`] as TensorToWrite };
  assert.deepEqual((await read(twice, { later: true, gone: null, eva_config: { rho: 2 } })).notes, [
    "m.q_proj has lora_A twice, under two names",
    'adapter_config.json has "later", which this release does not know and leaves unread',
  ]);
  await refused({ ...TENSORS, [q]: float32([2, 3], () => 9) }, {}, /m\.q_proj has lora_A twice, under two names/);
  await refused(TENSORS, { init_lora_weights: "later" }, /"later", an unknown start, which may have changed the base/);
});

test("scaling follows alpha, rank, their patterns and rslora", async () => {
  const scaling = async (config: object) => (await read(TENSORS, config)).factors.get("m.q_proj")?.scaling;
  assert.equal(await scaling({}), 2);
  assert.equal(await scaling({ use_rslora: true }), 4 / Math.sqrt(2));
  assert.equal(await scaling({ alpha_pattern: { proj: 10, q_proj: 6 } }), 3);
  assert.equal(await scaling({ r: 9, rank_pattern: { "[qv]_proj": 2 }, alpha_pattern: { "m.q_proj": 1 } }), 0.5);
});

test("an adapter that does not fit the slots is refused", async () => {
  await unfit(
    { ...TENSORS, ...pair("m.gate_proj", 4) },
    {},
    /^adapter x: 2 of its 3 modules are in this artifact \(which has m\.q_proj, …\); missing: m\.gate_proj; use an adapter trained for this base$/,
  );
  await unfit(pair("other.up_proj", 4), {}, /^adapter x: none of its 1 modules are in this artifact/);
  await unfit(
    TENSORS,
    { target_modules: ["q_proj", "v_proj", "k_proj"] },
    /^adapter x is incomplete: 1 of the 3 modules that its target_modules ask for have no factors: m\.k_proj; save or copy/,
  );
  await unfit(TENSORS, { target_modules: ".*_proj" }, /is incomplete: 1 of the 3 modules/);
  await unfit(
    { ...pair("m.q_proj", 5), ...pair("m.v_proj", 2) },
    {},
    /^adapter x does not fit: m\.q_proj maps 3 to 5 features, expected 3 to 4; use an adapter trained for this base$/,
  );
  fitAdapter(await read(TENSORS, { target_modules: ".*_proj", exclude_modules: ["k_proj"] }), [SLOT], "narrowed");
  await unfit(TENSORS, { target_modules: ".*_proj", exclude_modules: "m.x_proj" }, /is incomplete: 1 of the 3 modules/);
  await unfit(
    TENSORS,
    { exclude_modules: ["v_proj"] },
    /^adapter x has factors for 1 modules that its adapter_config\.json does not claim: m\.v_proj; save or copy the/,
  );
});

test("an adapter that changes nothing is refused", async () => {
  const zeroB = { ...pair("m.q_proj", 4), [`${PREFIX}m.q_proj.lora_B.weight`]: float32([4, 2], () => 0) };
  const config = { target_modules: ["q_proj"] };
  await unfit(zeroB, config, /^adapter x changes nothing: alpha, A or B is zero or next to it in every module; was it/);
  await unfit(pair("m.q_proj", 4), { ...config, lora_alpha: 1e-12 }, /changes nothing/);
});

/** `a @ b` of a slot: (in_features, out_features). */
function product({ a, b, rank }: SlotMatrices, slot: Slot): number[] {
  const { inFeatures, outFeatures } = slot;
  return Array.from({ length: inFeatures * outFeatures }, (_, index) => {
    const [row, column] = [Math.floor(index / outFeatures), index % outFeatures];
    let sum = 0;
    for (let r = 0; r < rank; r++) sum += (a[row * rank + r] as number) * (b[r * outFeatures + column] as number);
    return sum;
  });
}

/** The same from the factors: `scaling * (B @ A).T` in the columns of each part. */
function delta(adapter: Adapter, slot: Slot): number[] {
  return Array.from({ length: slot.inFeatures * slot.outFeatures }, (_, index) => {
    const [row, column] = [Math.floor(index / slot.outFeatures), index % slot.outFeatures];
    const part = slot.parts.find((item) => column >= item.offset && column < item.offset + item.outFeatures);
    const factors = adapter.factors.get(part?.module ?? "");
    if (part === undefined || factors === undefined) return 0;
    const { a, b, scaling } = factors;
    let sum = 0;
    for (let r = 0; r < a.rows; r++) {
      sum += (b.values[(column - part.offset) * a.rows + r] as number) * (a.values[r * a.columns + row] as number);
    }
    return sum * scaling;
  });
}

function near(found: readonly number[], expected: readonly number[]): void {
  assert.equal(found.length, expected.length);
  found.forEach((value, index) => {
    const wanted = expected[index] as number;
    assert.ok(Math.abs(value - wanted) <= 1e-5 * Math.max(1, Math.abs(wanted)), `${index}: ${value}, ${wanted}`);
  });
}

test("packed matrices multiply to the delta of every part", async () => {
  const adapter = await read(
    { ...pair("m.q_proj", 4, 2), ...pair("m.v_proj", 2, 3, 5) },
    { rank_pattern: { v_proj: 3 } },
  );
  const [packed] = packAdapter(adapter, [SLOT]);
  assert.equal(packed?.rank, 5);
  near(product(packed as SlotMatrices, SLOT), delta(adapter, SLOT));
});

test("parts with equal A share their ranks", async () => {
  const shared = { ...pair("m.q_proj", 4), ...pair("m.k_proj", 1), ...pair("m.v_proj", 2) };
  const adapter = await read(shared);
  const [packed] = packAdapter(adapter, [SLOT]);
  assert.equal(packed?.rank, 2);
  near(product(packed as SlotMatrices, SLOT), delta(adapter, SLOT));
});

test("a blend is the weighted sum, and of nothing it is rank 0", async () => {
  const [one, other] = [await read(), await read(pair("m.k_proj", 1, 2, -3), { target_modules: ["k_proj"] })];
  const parts = [
    [packAdapter(one, [SLOT]), 0.7],
    [packAdapter(other, [SLOT]), -0.3],
  ] as const;
  const [blended] = blendPacked(parts, [SLOT]);
  const expected = delta(one, SLOT).map((value, index) => 0.7 * value - 0.3 * (delta(other, SLOT)[index] as number));
  assert.equal(blended?.rank, 6);
  near(product(blended as SlotMatrices, SLOT), expected);
  assert.deepEqual(blendPacked([], [SLOT]), [{ rank: 0, a: new Float32Array(0), b: new Float32Array(0), gain: null }]);
});

test("slot inputs: one adapter as it is, rows padded to the largest rank, rank 0 as zeros of rank 1 where it must be", async () => {
  const packed = packAdapter(await read(), [SLOT]);
  const none = blendPacked([], [SLOT]);
  const [a, b] = slotInputs([packed], [SLOT], true);
  assert.deepEqual([a?.name, a?.dims, b?.name, b?.dims], ["qkv.a", [1, 3, 4], "qkv.b", [1, 4, 7]]);
  assert.equal(a?.data, packed[0]?.a);
  const stacked = slotInputs([none, packed], [SLOT], true);
  assert.deepEqual(
    stacked.map((input) => input.dims),
    [
      [2, 3, 4],
      [2, 4, 7],
    ],
  );
  for (const [index, input] of stacked.entries()) {
    const half = input.data.length / 2;
    assert.ok(input.data.subarray(0, half).every((value) => value === 0));
    assert.deepEqual(input.data.slice(half), [packed[0]?.a, packed[0]?.b][index]);
  }
  assert.deepEqual(
    slotInputs([none], [SLOT], true).map((input) => input.dims),
    [
      [1, 3, 0],
      [1, 0, 7],
    ],
  );
  const zeros = slotInputs([none], [SLOT], false);
  assert.deepEqual(
    zeros.map((input) => input.dims),
    [
      [1, 3, 1],
      [1, 1, 7],
    ],
  );
  assert.ok(zeros.every((input) => input.data.every((value) => value === 0)));
  assert.ok(stacked.concat(zeros).every((input) => input.data.byteOffset === 0));
});

const GAINED: Slot = { ...SLOT, gain: "qkv.gain" };
const GRID = "a1".repeat(32);
const OF_DORA = { peft_type: "EDGELORA_DORA", edgelora_grid: GRID };

function gains(module: string, count: number, start = 0.5): Tensors {
  return { [`${PREFIX}${module}.lora_gain.weight`]: float32([count], (index) => start - index / 4) };
}

test("gains are packed by part, blended by weight, and stacked by row", async () => {
  const tensors = {
    ...pair("m.q_proj", 4),
    ...gains("m.q_proj", 4),
    ...pair("m.v_proj", 2),
    ...gains("m.v_proj", 2, 3),
  };
  const adapter = await read(tensors, OF_DORA);
  assert.equal(adapter.grid, GRID);
  fitAdapter(adapter, [GAINED], "it");
  const packed = packAdapter(adapter, [GAINED]);
  assert.deepEqual(packed[0]?.gain, Float32Array.of(0.5, 0.25, 0, -0.25, 0, 3, 2.75));
  const none = blendPacked([], [GAINED]);
  const blend = blendPacked(
    [
      [packed, 0.5],
      [packed, -2],
    ],
    [GAINED],
  );
  assert.deepEqual(blend[0]?.gain, Float32Array.of(-0.75, -0.375, 0, 0.375, 0, -4.5, -4.125));
  const [, , stacked] = slotInputs([none, packed], [GAINED], true);
  assert.deepEqual([stacked?.name, stacked?.dims], ["qkv.gain", [2, 1, 7]]);
  assert.deepEqual(stacked?.data, Float32Array.of(0, 0, 0, 0, 0, 0, 0, ...(packed[0]?.gain ?? [])));
  assert.deepEqual([none, packed].map(isNothing), [true, false]);
  const alone = [{ ...(none[0] as SlotMatrices), gain: packed[0]?.gain ?? null }];
  assert.equal(isNothing(alone), false);
});

test("DoRA that is not of a grid, or has odd gains, is refused", async () => {
  const whole = { ...pair("m.q_proj", 4), ...gains("m.q_proj", 4) };
  await refused(whole, { ...OF_DORA, edgelora_grid: GRID.toUpperCase() }, /expected 64 lower-case hexadecimal digits/);
  await refused(whole, { ...OF_DORA, edgelora_grid: null }, /edgelora_grid is null, expected 64/);
  await refused(whole, {}, /m\.q_proj\.lora_gain\.weight is no LoRA factor/);
  await refused(pair("m.q_proj", 4), OF_DORA, /m\.q_proj: lora_gain is missing/);
  await refused({ ...whole, ...gains("m.q_proj", 3) }, OF_DORA, /m\.q_proj: lora_gain has 3 numbers, B 4 rows/);
  const square = { [`${PREFIX}m.q_proj.lora_gain.weight`]: float32([4, 1], () => 1) };
  await refused({ ...whole, ...square }, OF_DORA, /expected one dimension of floats/);
  const broken = { [`${PREFIX}m.q_proj.lora_gain.weight`]: float32([4], () => Number.NaN) };
  await refused({ ...whole, ...broken }, OF_DORA, /lora_gain\.weight holds numbers that are not finite/);
  await unfit(
    whole,
    { ...OF_DORA, target_modules: ["q_proj"] },
    /^adapter x is DoRA, and the slots of this artifact have no place for its gains; export it again with --dora, or with --merge/,
  );
});

test("the adapters of the conformance artifacts fit theirs and no other", async () => {
  const manifest = async (name: string) =>
    parseManifest(await readFile(join(CONFORMANCE, name, "manifest.json"), "utf8"));
  const [ours, other] = [await manifest("tiny-int4"), await manifest("tiny-float")];
  for (const { name, path, rank } of ours.adapters) {
    const adapter = await readAdapter(folder(join(CONFORMANCE, "tiny-int4", path)));
    fitAdapter(adapter, ours.slots, name);
    assert.equal(Math.max(...[...adapter.factors.values()].map((factors) => factors.a.rows)), rank);
    assert.throws(() => fitAdapter(adapter, other.slots, name), isRefusal(/does not fit: .* maps \d+ to \d+ features/));
  }
});
