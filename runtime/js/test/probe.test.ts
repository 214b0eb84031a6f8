/** An adapter that does not do what its receipt says is refused with the reason; so is one of another base. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { AdapterError } from "../src/core/errors.js";
import type { FolderSource } from "../src/core/files.js";
import { logSoftmax } from "../src/core/sampling.js";
import { load } from "../src/node.js";
import { copyArtifact, memoryFolder } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const FOLDER = join(CONFORMANCE, "tiny-int4");
const model = await load(FOLDER, { threads: 1 });
const PROMPTS = [
  [0, 5, 9],
  [0, 75, 372, 226, 21],
];

type Json = Record<string, unknown>;

async function filesOf(name: string): Promise<Record<string, Uint8Array>> {
  const read = async (file: string) => [file, await readFile(join(FOLDER, "adapters", name, file))] as const;
  return Object.fromEntries(await Promise.all(["adapter_config.json", "adapter_model.safetensors"].map(read)));
}

async function distribution(ids: readonly number[], adapter: string): Promise<Float64Array> {
  const [last] = await model.logits(ids, { adapter, positions: [ids.length - 1] });
  return logSoftmax(last as Float32Array);
}

function topTokens(logprobs: Float64Array): { ids: number[]; logprobs: number[] } {
  const ids = [...logprobs.keys()]
    .sort((one, other) => (logprobs[other] as number) - (logprobs[one] as number))
    .slice(0, 64);
  return { ids, logprobs: ids.map((id) => Number((logprobs[id] as number).toFixed(4))) };
}

/** A receipt of the adapter as this very graph answers. */
async function receiptOf(name: string): Promise<Json> {
  const { base, files } = model.manifest;
  const probes = [];
  for (const ids of PROMPTS) {
    const [before, after] = [await distribution(ids, "none"), await distribution(ids, name)];
    const kl = before.reduce((sum, value, id) => sum + Math.exp(value) * (value - (after[id] as number)), 0);
    probes.push({ text: null, input_ids: ids, kl, base: topTokens(before), adapted: topTokens(after) });
  }
  const weights = createHash("sha256")
    .update((await filesOf(name))["adapter_model.safetensors"] as Uint8Array)
    .digest("hex");
  return {
    format_version: 1,
    base: { name: "base", ...base, tokenizer: files.get("tokenizer.json")?.sha256, chat_template: null },
    quantization: { label: "int4", method: "rtn", bits: 4 },
    training: { raw: false },
    modules: { matched: 1, expected: 1, missing: [] },
    weights,
    probes,
  };
}

async function withReceipt(name: string, receipt: unknown): Promise<FolderSource> {
  const text = typeof receipt === "string" ? receipt : JSON.stringify(receipt);
  return memoryFolder({ ...(await filesOf(name)), "receipt.json": text }, "here");
}

const RECEIPT = await receiptOf("eight");

async function refused(change: (receipt: Json) => unknown, message: RegExp, name = "eight"): Promise<void> {
  const receipt = structuredClone(RECEIPT);
  const changed = change(receipt) ?? receipt;
  const folder = await withReceipt(name, changed);
  const isRight = (error: unknown) => {
    assert.ok(error instanceof AdapterError, String(error));
    assert.match(error.message, message);
    return true;
  };
  await assert.rejects(
    model.loadAdapter("probed", folder).then(() => model.probe("probed")),
    isRight,
  );
  await model.loadAdapter("probed", folder, { trust: true });
  await assert.rejects(model.probe("probed"), isRight);
}

test("an adapter that does what its receipt says passes, on the probe with the largest effect", async () => {
  await model.loadAdapter("probed", await withReceipt("eight", RECEIPT));
  const result = await model.probe("probed");
  assert.ok(result?.passed);
  const largest = Math.max(...(RECEIPT.probes as { kl: number }[]).map((probe) => probe.kl));
  assert.ok(Math.abs(result.klFound - largest) < 1e-6 && result.klExpected === largest && largest > 0.01);
  assert.match(result.reason, /^\S+ nats from its receipt, \S+ allowed$/);
});

test("without a receipt, or without probes in it, there is nothing to replay", async () => {
  assert.equal(await model.probe("one"), null);
  await model.loadAdapter("probed", await withReceipt("eight", { ...RECEIPT, probes: null }));
  assert.equal(await model.probe("probed"), null);
});

test("an adapter that does something else, or nothing, is refused", async () => {
  const four = (await receiptOf("four")) as { weights: string };
  await refused(
    () => ({ ...four, weights: RECEIPT.weights }),
    /^adapter "probed" \(here\): it does not do what its receipt says: its answer to the probe is \S+ nats away from the recorded one, at most \S+ are expected; re-measure it with/,
  );
  const tenfold = (receipt: Json) => {
    for (const probe of receipt.probes as { kl: number }[]) probe.kl *= 20;
  };
  await refused(
    tenfold,
    /it does next to nothing here: KL between base and adapted is \S+ nats, its receipt says \S+; re-measure/,
  );
});

test("an adapter without effect on the probe is refused", async () => {
  const config = JSON.parse(Buffer.from((await filesOf("eight"))["adapter_config.json"] as Uint8Array).toString());
  const weak = {
    ...(await filesOf("eight")),
    "adapter_config.json": JSON.stringify({ ...config, lora_alpha: 1e-5, alpha_pattern: {} }),
  };
  await model.loadAdapter("probed", memoryFolder({ ...weak, "receipt.json": JSON.stringify(RECEIPT) }));
  await assert.rejects(
    model.probe("probed"),
    /it does nothing here: the answers are those of the base \(KL \S+ nats\)/,
  );
});

test("a receipt of something else is refused before anything runs", async () => {
  const inBase = (fields: Json) => (receipt: Json) => void Object.assign(receipt.base as Json, fields);
  await refused(
    inBase({ fingerprint: "f".repeat(64), name: "Other" }),
    /trained for another base: Other \(ffffffffffff\), this artifact holds base \(22e62117d6e4\)$/,
  );
  await refused(
    inBase({ grid: "0".repeat(64) }),
    /trained on another grid of base: bits 4, label int4 \(000000000000\), this artifact ships 1f1d8716722b; train it with the same --quant and --block-size as the export$/,
  );
  await refused(
    inBase({ tokenizer: "a".repeat(64) }),
    /trained with another tokenizer \(aaaaaaaaaaaa\), this artifact ships 1e08871e0b84; train and export/,
  );
  await refused(
    inBase({ chat_template: "b".repeat(64) }),
    /trained with another chat template \(bbbbbbbbbbbb\), this artifact ships/,
  );
  await refused(
    (receipt) => ({ ...receipt, weights: "c".repeat(64) }),
    /the receipt belongs to other factors: adapter_model\.safetensors has sha256 3f53e9409c1f, the receipt says cccccccccccc; copy the whole/,
  );
  await refused(
    (receipt) => ({ ...receipt, modules: { matched: 1, expected: 6, missing: ["a", "b", "c", "d", "e"] } }),
    /its receipt lists 5 modules without factors: a, b, c, d and 1 more; train the adapter again$/,
  );
});

test("other template variables are another template, in whatever order they stand", async () => {
  const training = (variables: unknown) => (receipt: Json) => ({
    ...receipt,
    training: { raw: false, template_variables: variables },
  });
  await refused(
    training({ enable_thinking: false }),
    /trained with the template variables enable_thinking=false, this artifact has \(none\); give train and export/,
  );
  const other = await withReceipt("eight", training({})(structuredClone(RECEIPT)));
  await model.loadAdapter("probed", other);
});

test("modules that the receipt does not know, or that it misses, are refused", async () => {
  const layers = { "model.layers.9.mlp": { rank: 1, energy: {}, effective_rank: 1 } };
  await assert.rejects(
    model.loadAdapter("probed", await withReceipt("eight", { ...RECEIPT, layers })),
    /lacks 1 of the 1 modules of its receipt: model\.layers\.9\.mlp; has 8 unknown to it: .+ and 4 more; copy the adapter/,
  );
});

test("a template may differ where training was raw, a grid may be missing", async () => {
  const receipt = structuredClone(RECEIPT);
  Object.assign(receipt.base as Json, { chat_template: "b".repeat(64), grid: null });
  receipt.training = { raw: true };
  await model.loadAdapter("probed", await withReceipt("eight", receipt));
  assert.ok((await model.probe("probed"))?.passed);
});

test("a receipt that cannot be read is refused", async () => {
  await refused(() => "{", /here\/receipt\.json is not JSON \(.+\); train the adapter again or delete the file$/);
  await refused(() => "[]", /receipt\.json has no "base"; expected a receipt written by `edgelora train`/);
  await refused((receipt) => ({ ...receipt, format_version: 2 }), /format_version is 2, the newest read here is 1$/);
  await refused((receipt) => ({ ...receipt, base: {} }), /base: fingerprint is missing/);
  await refused(
    (receipt) => ({ ...receipt, base: { fingerprint: "x", grid: 3 } }),
    /base: fingerprint is "x", expected 64 .*; base: grid is 3, expected 64 lower-case hexadecimal digits or null/,
  );
  await refused(
    (receipt) => ({ ...receipt, weights: 7 }),
    /weights is 7, expected 64 lower-case hexadecimal digits or null/,
  );
  for (const probe of [{}, { input_ids: [1], kl: 1, base: { ids: [1], logprobs: [] } }]) {
    await refused((receipt) => ({ ...receipt, probes: [probe] }), /probes\[0\]: .+ needs ids and logprobs/);
  }
  const top = { ids: [384], logprobs: [0] };
  await refused(
    (receipt) => ({ ...receipt, probes: [{ input_ids: [1], kl: 1, base: top, adapted: top }] }),
    /the receipt's probes cannot be read \(token ids go up to 384, the vocabulary has 384\); train the adapter again$/,
  );
});

test("load with probe holds every adapter of the artifact to its receipt", async (context) => {
  const folder = await copyArtifact(context, "tiny-int4");
  await writeFile(join(folder, "adapters/eight/receipt.json"), JSON.stringify(RECEIPT));
  await (await load(folder, { threads: 1, probe: true })).dispose();
  await writeFile(join(folder, "adapters/one/receipt.json"), JSON.stringify(RECEIPT));
  await assert.rejects(
    load(folder, { threads: 1, probe: true }),
    /^AdapterError: adapter "one" \(.+\): the receipt belongs to other/,
  );
});
