/**
 * A real model: greedy tokens and logits of an artifact equal what PyTorch answered on the same grid.
 *
 * EDGELORA_ARTIFACT names the folder; the artifact must be exported with --accuracy-level 0, where kernels keep float32.
 */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { readSafetensors, type StoredTensor, toFloat32 } from "../src/core/safetensors.js";
import { load } from "../src/node.js";

const FOLDER = process.env.EDGELORA_ARTIFACT;

function wholes({ bytes }: StoredTensor): number[] {
  return Array.from(new BigInt64Array(new Uint8Array(bytes).buffer), Number);
}

test("answers are those of PyTorch", { skip: FOLDER === undefined && "EDGELORA_ARTIFACT is not set" }, async () => {
  const folder = FOLDER as string;
  const model = await load(folder, { hashes: true });
  const file = model.manifest.record.reference as string;
  const reference = readSafetensors(await readFile(join(folder, file)), file);
  const stored = (name: string) => reference.get(name) as StoredTensor;
  const count = [...reference.keys()].filter((name) => name.endsWith(".greedy")).length;
  assert.ok(count > 0);
  for (let index = 0; index < count; index++) {
    const ids = wholes(stored(`prompt.${index}.input_ids`));
    const greedy = wholes(stored(`prompt.${index}.greedy`));
    const [logits] = await model.logits(ids, { positions: [ids.length - 1] });
    const expected = toFloat32(stored(`prompt.${index}.logits`));
    const apart = expected.reduce((most, value, id) => Math.max(most, Math.abs(value - (logits?.[id] as number))), 0);
    assert.ok(apart < 2e-3, `prompt ${index}: logits are ${apart} apart`);
    const found = await model.generateIds(ids, { maxNewTokens: greedy.length });
    assert.deepEqual(found, greedy.slice(0, found.length), `prompt ${index}`);
    const isEnd = model.manifest.model.eosTokenIds.includes(greedy[found.length] ?? -1);
    assert.ok(found.length === greedy.length || isEnd);
  }
  await model.dispose();
});
