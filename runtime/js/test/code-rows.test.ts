/** Factors stored as codes are the products of codes and scales, and bad rows are refused in the words of the others. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { readAdapter } from "../src/core/adapter.js";
import { AdapterError } from "../src/core/errors.js";
import { readSafetensors } from "../src/core/safetensors.js";
import { folder } from "../src/node.js";
import { memoryFolder, type TensorToWrite, writeSafetensors } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const FOUR = `${CONFORMANCE}/tiny-float/adapters/four`;
const files = async () => ({
  "adapter_config.json": await readFile(`${FOUR}/adapter_config.json`),
  "adapter_model.safetensors": await readFile(`${FOUR}/adapter_model.safetensors`),
});

/** Rows of codes 1, -1, 2, -2 ... with these scales behind them. */
function rows(count: number, scales: readonly number[], code = (index: number) => (index % 2 ? -1 : 1) * (index + 1)) {
  const bytes = new Uint8Array(scales.length * (count + 4));
  const view = new DataView(bytes.buffer);
  for (const [rank, scale] of scales.entries()) {
    for (let index = 0; index < count; index++) view.setInt8(rank * (count + 4) + index, code(index));
    view.setFloat32(rank * (count + 4) + count, scale, true);
  }
  return { dtype: "I8", shape: [scales.length, count + 4, 1], data: bytes } satisfies TensorToWrite;
}

async function withTensors(changed: Readonly<Record<string, TensorToWrite>>) {
  const given = await files();
  const stored = [...readSafetensors(given["adapter_model.safetensors"], "it")];
  const tensors = Object.fromEntries(stored.map(([name, { bytes, ...rest }]) => [name, { ...rest, data: bytes }]));
  return memoryFolder({ ...given, "adapter_model.safetensors": writeSafetensors({ ...tensors, ...changed }) });
}

test("a factor of codes is their product with the scale of each rank, B turned", async () => {
  const plain = await readAdapter(folder(FOUR));
  const [module, { a, b }] = [...plain.factors][0] as never as [
    string,
    { a: { rows: number; columns: number }; b: { rows: number } },
  ];
  const scales = Array.from({ length: a.rows }, (_, rank) => 2 ** -(rank + 3));
  const name = (side: string) => `base_model.model.${module}.lora_${side}.weight`;
  const found = await readAdapter(
    await withTensors({ [name("A")]: rows(a.columns, scales), [name("B")]: rows(b.rows, scales) }),
  );
  const factors = found.factors.get(module);
  assert.ok(factors);
  assert.deepEqual([factors.a.rows, factors.a.columns], [a.rows, a.columns]);
  assert.deepEqual([factors.b.rows, factors.b.columns], [b.rows, a.rows]);
  const code = (index: number) => (index % 2 ? -1 : 1) * (index + 1);
  for (const [rank, scale] of scales.entries()) {
    for (let index = 0; index < a.columns; index++) {
      assert.equal(factors.a.values[rank * a.columns + index], code(index) * scale);
    }
    for (let index = 0; index < b.rows; index++) {
      assert.equal(factors.b.values[index * a.rows + rank], code(index) * scale);
    }
  }
});

test("rows that are none are refused", async () => {
  const plain = await readAdapter(folder(FOUR));
  const [module, { a }] = [...plain.factors][0] as never as [string, { a: { rows: number; columns: number } }];
  const key = `base_model.model.${module}.lora_A.weight`;
  const good = Array.from({ length: a.rows }, () => 0.5);
  const bad = (scale: number) => rows(a.columns, [...good.slice(1), scale]);
  const cases: readonly (readonly [TensorToWrite, string])[] = [
    ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY].map(
      (scale) => [bad(scale), "a scale that is no number above 0"] as const,
    ),
    [rows(a.columns, good, () => -128), "the code -128, expected -127 to 127"],
  ];
  for (const [tensor, what] of cases) {
    const reading = readAdapter(await withTensors({ [key]: tensor }));
    await assert.rejects(reading, (error) => {
      assert.ok(error instanceof AdapterError);
      assert.ok(error.message.includes(`cannot be used: ${key} has ${what}; expected`), error.message);
      return true;
    });
  }
  const flat = { ...rows(a.columns, good), shape: [a.rows, a.columns + 4] };
  await assert.rejects(readAdapter(await withTensors({ [key]: flat })), /is I8 .*expected two dimensions of floats/);
});
