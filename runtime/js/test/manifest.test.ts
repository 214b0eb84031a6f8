/** Artifacts that cannot be used are refused with a line that says what was found, what was expected and what to do. */

import assert from "node:assert/strict";
import { readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ArtifactError } from "../src/core/errors.js";
import { parseManifest } from "../src/core/manifest.js";
import { load } from "../src/node.js";
import { copyArtifact } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const text = await readFile(join(CONFORMANCE, "tiny-int4/manifest.json"), "utf8");

type Json = Record<string, unknown>;

function refused(change: (data: Json) => void, message: RegExp): void {
  const data = JSON.parse(text) as Json;
  change(data);
  const parse = () => parseManifest(JSON.stringify(data), "here/manifest.json");
  assert.throws(parse, (error) => error instanceof ArtifactError && message.test(error.message));
}

test("a manifest is read whole", () => {
  const manifest = parseManifest(text);
  assert.equal(manifest.model.vocabSize, 384);
  assert.equal(manifest.graph.withoutSlots, "decoder.plain.onnx");
  assert.equal(manifest.slots.length, 8);
  assert.deepEqual(manifest.slots[0]?.parts[1], {
    module: "model.layers.0.self_attn.k_proj",
    offset: 48,
    outFeatures: 16,
  });
  assert.equal(manifest.tokenizer?.unkToken, null);
  assert.equal(manifest.files.get("weights.bin")?.bytes, 128512);
  assert.equal((manifest.record.quantization as Json).label, "int4");
});

test("a manifest of the first version without what came later is read", () => {
  const data = JSON.parse(text) as Json;
  delete (data.graph as Json).without_slots;
  delete data.tokenizer;
  const manifest = parseManifest(JSON.stringify(data));
  assert.equal(manifest.graph.withoutSlots, null);
  assert.equal(manifest.tokenizer, null);
});

test("what is wrong in a manifest is named", () => {
  const damage = () => parseManifest(text.slice(0, 500), "here/manifest.json");
  assert.throws(damage, /^ArtifactError: here\/manifest\.json is not JSON \(.+\); export the artifact again$/);
  assert.throws(
    () => parseManifest("[]", "m"),
    /m: format is a list, expected "edgelora"; this is no EdgeLoRA artifact/,
  );
  refused((data) => Object.assign(data, { format: "gguf" }), /format is "gguf", expected "edgelora"/);
  refused(
    (data) => Object.assign(data, { format_version: 2 }),
    /format_version 2 is newer than 1, the newest this runtime reads; update @edgelora\/runtime/,
  );
  refused((data) => Object.assign(data, { format_version: true }), /format_version is true, expected a whole number/);
  refused(
    (data) => Object.assign(data.graph as Json, { kv_cache: "int4" }),
    /graph: kv_cache: expected "float32" or "int8", found "int4"/,
  );
  refused((data) => delete data.slots, /field "slots" is missing/);
  refused((data) => Object.assign(data, { slots: {} }), /slots: expected a list, found \{\}/);
  refused(
    (data) => Object.assign(data.model as Json, { vocab_size: "384" }),
    /model: vocab_size: expected a whole number, found "384"/,
  );
  refused((data) => Object.assign(data, { adapters: [3] }), /adapters\[0\]: expected an object, found a number/);
  refused((data) => Object.assign(data.base as Json, { grid: null }), /base: grid: expected text, found null/);
});

test("no file name leaves the artifact", () => {
  for (const name of ["../weights.bin", "a/../../b", "/etc/passwd", "C:\\x", "a\\..\\..\\b"]) {
    const file = { bytes: 1, sha256: "0".repeat(64) };
    refused((data) => Object.assign(data.files as Json, { [name]: file }), /files: ".+" leaves the artifact/);
  }
  refused(
    (data) => Object.assign(data.graph as Json, { weights: "../w" }),
    /graph: weights: "\.\.\/w" leaves the artifact/,
  );
  refused(
    (data) => Object.assign(data, { adapters: [{ name: "x", path: "../x", rank: 1 }] }),
    /path is "\.\.\/x", expected "adapters\/" and the name/,
  );
});

async function refusedToLoad(context: TestContext, spoil: (folder: string) => Promise<unknown>, message: RegExp) {
  const folder = await copyArtifact(context);
  await spoil(folder);
  await assert.rejects(load(folder), (error) => error instanceof ArtifactError && message.test(error.message));
}

test("every difference between files and manifest is listed at once", async (context) => {
  await refusedToLoad(
    context,
    async (folder) => {
      await rm(join(folder, "decoder.onnx"));
      await truncate(join(folder, "weights.bin"), 1000);
      const template = join(folder, "chat_template.jinja");
      await writeFile(template, (await readFile(template, "utf8")).replace("user", "usor"));
    },
    /is damaged: chat_template\.jinja: sha256 .{12}…, expected .{12}…; decoder\.onnx: missing; weights\.bin: 1000 bytes, expected 126976; copy or export it again$/,
  );
});

test("the files of an adapter are compared with the manifest when it is first used", async (context) => {
  const folder = await copyArtifact(context);
  const file = join(folder, "adapters/one/adapter_model.safetensors");
  const bytes = await readFile(file);
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
  await writeFile(file, bytes);
  await rm(join(folder, "adapters/four"), { recursive: true });
  const model = await load(folder);
  await assert.rejects(
    model.setAdapter("one"),
    /^ArtifactError: .* is damaged: adapters\/one\/adapter_model\.safetensors: sha256 .{12}…/,
  );
  await assert.rejects(model.setAdapter("four:0.5"), /adapters\/four\/adapter_config\.json: missing/);
  await model.setAdapter("eight");
  await model.dispose();
  await assert.rejects(load(folder, { hashes: true }), /^ArtifactError: .*adapters\/four\/.*: missing/);
});

test("what is no artifact is said to be none", async (context) => {
  await assert.rejects(load("/nowhere"), /^ArtifactError: \/nowhere is not a folder; expected an artifact written by/);
  await refusedToLoad(
    context,
    (folder) => rm(join(folder, "manifest.json")),
    /has no manifest\.json; expected an artifact/,
  );
  await refusedToLoad(
    context,
    (folder) => writeFile(join(folder, "manifest.json"), Uint8Array.of(0x7b, 0xff, 0x7d)),
    /manifest\.json is not JSON \(not UTF-8\); export the artifact again/,
  );
});

async function changeManifest(folder: string, change: (data: Json) => void): Promise<void> {
  const path = join(folder, "manifest.json");
  const data = JSON.parse(await readFile(path, "utf8")) as Json;
  change(data);
  await writeFile(path, JSON.stringify(data));
}

test("a graph that is none, or has other inputs, is refused", async (context) => {
  await refusedToLoad(
    context,
    (folder) =>
      changeManifest(folder, (data) => {
        (data.graph as Json).file = "tokenizer.json";
      }),
    /tokenizer\.json cannot be loaded \(.+\); export the artifact again/,
  );
  await refusedToLoad(
    context,
    (folder) =>
      changeManifest(folder, (data) => {
        (data.slots as Json[]).pop();
      }),
    /decoder\.onnx and the manifest disagree: inputs model\.layers\.1\.mlp\.down_proj\.lora_A is unknown; .*; export it again/,
  );
});

const CHANGES: Readonly<Record<string, (data: { model: Json; graph: Json; slots: Json[] }) => void>> = {
  "another vocabulary": ({ model }) => (model.vocab_size = 400),
  "a smaller vocabulary": ({ model }) => (model.vocab_size = 383),
  "other heads": ({ model }) => (model.num_kv_heads = 7),
  "wider heads": ({ model }) => (model.head_dim = 64),
  "more layers": ({ model }) => (model.num_layers = 3),
  "fewer layers": ({ model }) => (model.num_layers = 1),
  "a cache of other numbers": ({ graph }) => (graph.kv_cache = "int8"),
  "a slot of another width": ({ slots }) => ((slots[0] as Json).in_features = 7),
  "the graph without slots": ({ graph }) => (graph.file = "decoder.plain.onnx"),
  "a slot whose inputs change places": ({ slots: [slot] }) => {
    if (slot !== undefined) [slot.a, slot.b] = [slot.b, slot.a];
  },
};
for (const [what, change] of Object.entries(CHANGES)) {
  test(`a manifest that tells ${what} is refused with what the graph has`, async (context) => {
    const folder = await copyArtifact(context);
    await changeManifest(folder, (data) => change(data as never));
    await assert.rejects(load(folder, { threads: 1 }), (error: Error) => {
      assert.match(error.message, /decoder\S*\.onnx and the manifest disagree: inputs .+; export it again$/);
      return error instanceof ArtifactError && error.message.length < 600;
    });
  });
}

test("options of load are checked", async () => {
  const folder = join(CONFORMANCE, "tiny-float");
  await assert.rejects(load(folder, { threads: 0 }), /^InputError: threads is 0, expected a whole number from 1/);
  await assert.rejects(load(folder, { runtime: "gpu" as "wasm" }), /^InputError: runtime is "gpu", expected "native"/);
});
