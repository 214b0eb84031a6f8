/** What a manifest and a receipt say of a model without a KV cache is read whole, or refused by name. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { AdapterError, ArtifactError } from "../src/core/errors.js";
import { parseManifest } from "../src/core/manifest.js";
import { parseReceipt } from "../src/core/receipt.js";
import { CONFORMANCE } from "./places.js";

// biome-ignore lint/suspicious/noExplicitAny: what is changed is JSON
type Json = any;

const decoder = JSON.parse(await readFile(join(CONFORMANCE, "tiny-int4/manifest.json"), "utf8"));

function document(): Json {
  const data = structuredClone(decoder);
  data.task = "text-classification";
  data.graph.without_slots = null;
  Object.assign(data.model, { num_layers: 0, num_kv_heads: 0, head_dim: 0 });
  data.encoder = {
    inputs: ["input_ids", "attention_mask"],
    output: "logits",
    hidden_size: 48,
    head: [
      { tensor: "classifier.weight", input: "head.classifier.weight", sizes: [0, 48] },
      { tensor: "classifier.bias", input: "head.classifier.bias", sizes: [0] },
    ],
    head_file: "head.safetensors",
    base_head: { labels: ["spam", "post"], problem_type: "single_label_classification", temperature: 1 },
    one_adapter: true,
    image_size: [],
  };
  data.files["head.safetensors"] = { bytes: 1, sha256: "13".repeat(32) };
  data.adapters[0].head = { labels: ["a", "b"], problem_type: "multi_label_classification", temperature: 1.5 };
  return data;
}

test("an encoder's manifest is read whole", () => {
  const manifest = parseManifest(JSON.stringify(document()));
  assert.equal(manifest.task, "text-classification");
  assert.equal(manifest.encoder?.hiddenSize, 48);
  assert.deepEqual(manifest.encoder?.head[0], {
    tensor: "classifier.weight",
    input: "head.classifier.weight",
    sizes: [0, 48],
  });
  assert.equal(manifest.encoder?.headFile, "head.safetensors");
  assert.deepEqual(manifest.encoder?.baseHead?.labels, ["spam", "post"]);
  assert.equal(manifest.encoder?.oneAdapter, true);
  assert.equal(manifest.adapters[0]?.head?.temperature, 1.5);
  assert.equal(manifest.adapters[1]?.head, null);
});

test("what a manifest leaves out has the documented value", () => {
  const data = document();
  for (const field of ["head_file", "base_head", "one_adapter", "image_size"]) delete data.encoder[field];
  data.adapters[0].head = { labels: ["a"] };
  const { encoder, adapters } = parseManifest(JSON.stringify(data));
  assert.deepEqual(
    [encoder?.headFile, encoder?.baseHead, encoder?.oneAdapter, encoder?.imageSize],
    [null, null, false, []],
  );
  assert.deepEqual(adapters[0]?.head, {
    labels: ["a"],
    problemType: "single_label_classification",
    temperature: 1,
  });
  delete decoder.task;
  assert.equal(parseManifest(JSON.stringify(decoder)).task, "text-generation");
});

const BROKEN: readonly (readonly [(data: Json) => unknown, string])[] = [
  [(data) => (data.encoder = null), "encoder is null, which does not go with the task text-classification"],
  [(data) => delete data.encoder, "encoder is null, which does not go with the task text-classification"],
  [(data) => (data.task = "text-generation"), "encoder is an object, which does not go with the task text-generation"],
  [(data) => (data.task = "summarization"), 'task is "summarization", expected one of text-generation, text-class'],
  [(data) => (data.task = 1), "task: expected text, found 1"],
  [(data) => (data.model.num_layers = 2), "model: num_layers is 2, expected 0 for the task text-classification"],
  [(data) => (data.encoder.inputs = ["input_ids"]), 'inputs are ["input_ids"], expected input_ids, attention_mask'],
  [(data) => (data.encoder.output = "scores"), 'encoder: output is "scores", expected logits'],
  [(data) => (data.encoder.hidden_size = 0), "encoder: hidden_size is 0, expected 1 to 16777216"],
  [(data) => (data.encoder.image_size = [3, 8, 8]), "encoder: image_size is [3,8,8], expected no counts"],
  [(data) => (data.encoder.head = []), "head has 0 tensors, which does not go with the task text-classification"],
  [(data) => (data.encoder.head[0].sizes = [0, 1, 2]), "head[0]: sizes are [0,1,2], expected one or two counts"],
  [(data) => (data.encoder.head[0].sizes = [-1, 2]), "head[0]: sizes are [-1,2], expected one or two counts"],
  [(data) => (data.encoder.head[0].tensor = ""), 'head[0]: tensor is "", expected a name without control characters'],
  [(data) => (data.encoder.head[1].tensor = "classifier.weight"), 'tensor "classifier.weight" stands twice'],
  [(data) => (data.encoder.head[1].input = "input_ids"), 'slots: input "input_ids" stands twice'],
  [(data) => (data.encoder.head_file = "../head"), 'encoder: head_file: "../head" leaves the artifact'],
  [(data) => delete data.files["head.safetensors"], '"head.safetensors" is not listed in files'],
  [(data) => (data.encoder.base_head.labels = []), "encoder: base_head: 0 labels, expected 1 to 65536"],
  [(data) => (data.encoder.base_head.labels = ["a", "a"]), 'encoder: base_head: label "a" stands twice'],
  [(data) => (data.adapters[0].head.labels = ["a\nb"]), "adapters[0]: head: labels[0] is "],
  [(data) => (data.adapters[0].head.labels = [1]), "adapters[0]: head: labels[0]: expected text, found 1"],
  [(data) => (data.adapters[0].head.problem_type = "ranking"), 'problem_type is "ranking", expected one of single_'],
  [(data) => (data.adapters[0].head.temperature = 0), "temperature is 0, expected 0.000001 to 1000000"],
  [(data) => (data.adapters[0].head.temperature = true), "temperature: expected a number, found true"],
  [(data) => (data.encoder.one_adapter = 1), "encoder: one_adapter: expected true or false, found 1"],
];

test("what is wrong of an encoder is named", () => {
  for (const [spoil, message] of BROKEN) {
    const data = document();
    spoil(data);
    assert.throws(
      () => parseManifest(JSON.stringify(data)),
      (error) => error instanceof ArtifactError && error.message.includes(message),
      message,
    );
  }
});

test("a model of generation has no heads", () => {
  const data = structuredClone(decoder);
  data.adapters[0].head = { labels: ["a"] };
  assert.throws(() => parseManifest(JSON.stringify(data)), /adapters\[0\]: head has labels, but the model has no head/);
});

function receipt(): Json {
  return {
    format_version: 1,
    base: { fingerprint: "ab".repeat(32) },
    head: { labels: ["a", "b"], problem_type: "regression", temperature: 2 },
    answers: [{ text: null, input_ids: [1, 2], output: [0.5, -1], base: [0, 0] }],
  };
}

const WRONG_RECEIPTS: readonly (readonly [(data: Json) => unknown, string])[] = [
  [(data) => (data.head = []), "head is [], expected an object with a list of labels, or null"],
  [(data) => (data.head.labels = []), "expected an object with a list of labels, or null"],
  [(data) => (data.head.labels = ["a", ""]), 'head: labels are ["a",""], expected names without control characters'],
  [(data) => (data.head.labels = ["a", "a"]), "head: a label stands twice"],
  [(data) => (data.head.problem_type = null), "head: problem_type is null, expected one of single_label_class"],
  [(data) => (data.head.temperature = 1e7), "head: temperature is 10000000, expected 0.000001 to 1000000"],
  [(data) => (data.answers = {}), "answers is {}, expected a list or null"],
  [(data) => (data.answers[0] = 3), "answers[0] is 3, expected an object"],
  [(data) => (data.answers[0].text = 3), "answers[0]: text is 3, expected text or null"],
  [(data) => (data.answers[0].input_ids = []), "answers[0]: input_ids is [], expected token ids"],
  [(data) => (data.answers[0].output = ["1"]), "answers[0] needs output and base, lists of numbers"],
  [(data) => (data.answers[0].base = [1]), "answers[0]: output has 2 numbers, base 1; expected as many, at least one"],
];

test("a receipt's head and answers are read, or named", () => {
  assert.deepEqual(parseReceipt(JSON.stringify(receipt())).head?.labels, ["a", "b"]);
  for (const [spoil, message] of WRONG_RECEIPTS) {
    const data = receipt();
    spoil(data);
    assert.throws(
      () => parseReceipt(JSON.stringify(data)),
      (error) => error instanceof AdapterError && error.message.includes(message),
      message,
    );
  }
});
