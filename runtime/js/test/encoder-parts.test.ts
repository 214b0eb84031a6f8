/** What an encoder's answers are made of: heads, labels, scores, calls, windows, words and spans. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Adapter, HeadValues } from "../src/core/adapter.js";
import { planCalls } from "../src/core/calls.js";
import { encodeText } from "../src/core/encoded-text.js";
import { AdapterError } from "../src/core/errors.js";
import type { HeadInfo, HeadTensor, TokenizerInfo } from "../src/core/format.js";
import { blendHeads, countLabels, findUntrained, findWrongHead, headInputs, packHead } from "../src/core/head.js";
import { findHeadInfo } from "../src/core/head-info.js";
import { parseManifest } from "../src/core/manifest.js";
import { findOffsets } from "../src/core/offsets.js";
import { classifyLogits } from "../src/core/scores.js";
import { findSpans, findWords, type Word } from "../src/core/spans.js";
import { readTokenizer } from "../src/core/text.js";
import { planWindows } from "../src/core/windows.js";
import { folder } from "../src/node.js";
import { memoryFolder } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const HEAD: readonly HeadTensor[] = [
  { tensor: "dense.weight", input: "dense.w", sizes: [3, 2] },
  { tensor: "classifier.weight", input: "head.w", sizes: [0, 3] },
  { tensor: "classifier.bias", input: "head.b", sizes: [0] },
];

const values = (sizes: readonly number[], start: number): HeadValues => {
  const count = sizes.reduce((product, size) => product * size, 1);
  return { sizes, values: Float32Array.from({ length: count }, (_, index) => start + index) };
};
const BASE = new Map([
  ["dense.weight", values([3, 2], 1)],
  ["classifier.weight", values([2, 3], 10)],
  ["classifier.bias", values([2], 20)],
]);
const adapterWith = (head: readonly (readonly [string, HeadValues])[], saved = ["classifier"]): Adapter => ({
  factors: new Map(),
  targets: null,
  narrowing: { excluded: [], layers: [], lists: [] },
  base: null,
  head: new Map(head),
  saved,
  notes: [],
  invocation: [],
  grid: null,
});

test("a head is fed transposed, in its own labels or filled up with zeros", () => {
  const packed = packHead(BASE, HEAD);
  assert.deepEqual(
    headInputs([packed], HEAD).map(({ name, dims, data }) => [name, dims, [...data]]),
    [
      ["dense.w", [1, 2, 3], [1, 3, 5, 2, 4, 6]],
      ["head.w", [1, 3, 2], [10, 13, 11, 14, 12, 15]],
      ["head.b", [1, 1, 2], [20, 21]],
    ],
  );
  const wider = packHead(
    new Map([...BASE, ["classifier.weight", values([3, 3], 0)], ["classifier.bias", values([3], 5)]]),
    HEAD,
  );
  const [, weights, biases] = headInputs([packed, wider], HEAD);
  assert.deepEqual(weights?.dims, [2, 3, 3]);
  assert.deepEqual([...(weights?.data ?? [])].slice(0, 9), [10, 13, 0, 11, 14, 0, 12, 15, 0]);
  assert.deepEqual([...(biases?.data ?? [])], [20, 21, 0, 5, 6, 7]);
  assert.equal(countLabels(HEAD, BASE), 2);
});

test("heads blend by their share of the weights", () => {
  const [one, other] = [
    packHead(BASE, HEAD),
    packHead(new Map([...BASE].map(([name]) => [name, BASE.get(name) as HeadValues])), HEAD),
  ];
  const zero = other.map((item) => item && { ...item, values: item.values.map(() => 0) });
  assert.deepEqual(
    [
      ...(blendHeads([
        [one, 3],
        [zero, 1],
      ])[2]?.values ?? []),
    ],
    [15, 15.75],
  );
  assert.equal(blendHeads([[one, 0.2]]), one);
  assert.throws(
    () =>
      blendHeads([
        [one, 1],
        [zero, -1],
      ]),
    /^AdapterError: the weights of the blend add up to 0/,
  );
});

test("a head that could not answer is told tensor by tensor", () => {
  const wrong = (head: readonly (readonly [string, HeadValues])[], base = BASE, saved?: string[]) =>
    findWrongHead(adapterWith(head, saved), HEAD, base).join("; ");
  const [weight, bias] = [
    ["classifier.weight", values([4, 3], 0)],
    ["classifier.bias", values([4], 0)],
  ] as const;
  assert.equal(wrong([weight, bias]), "");
  assert.match(wrong([weight]), /classifier\.bias is missing, though modules_to_save asks for it/);
  assert.match(
    wrong([weight, bias, ["score.weight", values([1], 0)]]),
    /score\.weight is no tensor of this artifact's head/,
  );
  assert.match(wrong([["classifier.weight", values([4, 2], 0)], bias]), /is \[4, 2\], expected \[labels, 3\]/);
  assert.match(
    wrong([weight, ["classifier.bias", values([3], 0)]]),
    /for different numbers of labels \(classifier\.weight 4, classifier\.bias 3\)/,
  );
  assert.match(wrong([weight, bias], new Map()), /dense\.weight is neither in the adapter nor in the base/);
  assert.match(wrong([], BASE, []), /it changes nothing: there are no factors, and its head is that of the base/);
});

test("a head at its initial values is told from a trained one", () => {
  const normal = Float32Array.from({ length: 3000 }, (_, index) => {
    const [one, other] = [(index * 0.754877666) % 1, (index * 0.569840296) % 1];
    return 0.02 * Math.sqrt(-2 * Math.log(one || 0.5)) * Math.cos(2 * Math.PI * other);
  });
  const fresh = [
    ["classifier.weight", { sizes: [1000, 3], values: normal }],
    ["classifier.bias", { sizes: [1000], values: new Float32Array(1000) }],
  ] as const;
  assert.match(
    findUntrained(adapterWith(fresh), HEAD) ?? "",
    /its head is at its initial values \(classifier\.weight, classifier\.bias/,
  );
  const trained = normal.map((value) => value * 1.5);
  assert.equal(
    findUntrained(adapterWith([["classifier.weight", { sizes: [1000, 3], values: trained }], fresh[1]]), HEAD),
    null,
  );
});

test("labels come from the receipt, the manifest, the caller or config.json, and may not disagree", async () => {
  const plain: HeadInfo = { labels: ["a", "b"], problemType: "single_label_classification", temperature: 1 };
  const none = { receipt: null, listed: null, labels: null };
  const find = (files: Record<string, string>, given: Partial<Parameters<typeof findHeadInfo>[3]>) =>
    findHeadInfo(memoryFolder(files), 2, "it", { ...none, ...given });
  assert.deepEqual((await find({}, {})).labels, ["LABEL_0", "LABEL_1"]);
  assert.deepEqual((await find({}, { labels: ["x", "y"] })).labels, ["x", "y"]);
  const config = { id2label: { 1: "w", 0: "v" }, problem_type: "multi_label_classification" };
  assert.deepEqual(await find({ "config.json": JSON.stringify(config) }, {}), {
    ...plain,
    labels: ["v", "w"],
    problemType: "multi_label_classification",
  });
  const receipt = { base: { fingerprint: "" }, head: { labels: ["a", "b"], temperature: 2 } };
  assert.deepEqual(await find({}, { receipt, listed: plain }), { ...plain, temperature: 2 });
  const listed = { ...plain, labels: ["b", "a"] };
  await assert.rejects(
    find({}, { receipt, listed }),
    /^AdapterError: it: the manifest has "b", "a", but its receipt "a", "b"; the labels/,
  );
  await assert.rejects(
    find({}, { labels: ["x"] }),
    /its head answers for 2 labels, but labels has 1 \("x"\); give as many/,
  );
  await assert.rejects(find({}, { labels: ["x", "x"] }), /labels are "x", "x", expected different names/);
  await assert.rejects(find({ "config.json": '{"id2label": {"a": "b"}}' }, {}), AdapterError);
});

test("logits become scores as the problem says", () => {
  const head = (problemType: HeadInfo["problemType"]): HeadInfo => ({
    labels: ["a", "b", "c"],
    problemType,
    temperature: 2,
  });
  const logits = Float32Array.of(2, 2, -4);
  const single = classifyLogits(logits, head("single_label_classification"), true);
  assert.deepEqual([single.label, single.labels, single.truncated], ["a", ["a"], true]);
  assert.ok(Math.abs(single.score - 1 / (2 + Math.exp(-3))) < 1e-12);
  const multi = classifyLogits(logits, head("multi_label_classification"), false);
  assert.deepEqual(multi.labels, ["a", "b"]);
  assert.ok(Math.abs((multi.scores.get("c") as number) - 1 / (1 + Math.exp(2))) < 1e-12);
  assert.deepEqual([...classifyLogits(logits, head("regression"), false).scores.values()], [1, 1, -2]);
});

test("rows that fit go through together, others by adapter and length", () => {
  assert.deepEqual(planCalls([3, 1, 2], ["a", "b", "a"], 9, false), [[1, 2, 0]]);
  assert.deepEqual(planCalls([3, 1, 2], ["a", "b", "a"], 8, false), [[2, 0], [1]]);
  assert.deepEqual(planCalls([3, 1, 2], ["a", "b", "a"], 9, true), [[2, 0], [1]]);
  assert.deepEqual(planCalls([3, 1, 2, 9], ["a", "a", "a", "a"], 6, false), [[1, 2], [0], [3]]);
});

test("a token counts in the window in which it is farthest from an edge", () => {
  assert.deepEqual(planWindows(8, 8), [{ start: 0, end: 8, first: 0, last: 8 }]);
  const windows = planWindows(20, 8);
  assert.deepEqual(windows, [
    { start: 0, end: 8, first: 0, last: 7 },
    { start: 6, end: 14, first: 7, last: 13 },
    { start: 12, end: 20, first: 13, last: 20 },
  ]);
  assert.equal(planWindows(30, 1).length, 30);
});

test("spans follow their labels, in code points of the text", () => {
  const text = "🙂 Anna Berg, 東京 ok";
  const words = findWords(text, [
    [0, 2],
    [3, 5],
    [5, 7],
    [7, 12],
    [12, 13],
    [13, 15],
    [15, 16],
    [16, 19],
    [19, 19],
  ]);
  assert.deepEqual(
    words.map(({ start, end }) => text.slice(start, end)),
    ["🙂", "Anna", "Berg", ",", "東", "京", "ok"],
  );
  const labels = ["O", "B-PER", "I-PER", "O", "I-LOC", "B-LOC", "X"];
  const spans = findSpans(text, words as Word[], labels, [1, 0.5, 1, 1, 0.25, 0.75, 1]);
  assert.deepEqual(spans, [
    { start: 2, end: 11, label: "PER", score: 0.75, text: "Anna Berg" },
    { start: 13, end: 14, label: "LOC", score: 0.25, text: "東" },
    { start: 14, end: 15, label: "LOC", score: 0.75, text: "京" },
    { start: 16, end: 18, label: "X", score: 1, text: "ok" },
  ]);
});

for (const name of ["tiny-float", "tiny-blank"]) {
  test(`tokens of ${name} are found where they stand`, async () => {
    const place = join(CONFORMANCE, name);
    const info = parseManifest(await readFile(join(place, "manifest.json"), "utf8")).tokenizer as TokenizerInfo;
    const { codec } = await readTokenizer(folder(place), info);
    for (const text of ["", "Hello, wörld!  ", " naïve e\u0301cole 🙂 東京", "a<|begin|>b"]) {
      const { ids } = encodeText(codec, text);
      const offsets = findOffsets(codec, text);
      assert.equal(offsets.length, ids.length);
      const covered = offsets.map(([start, end]) => text.slice(start, end));
      const whole = findWords(text, offsets).map(({ start, end }) => text.slice(start, end));
      assert.equal(whole.join("").replace(/\s/g, ""), text.replace(/\s/g, ""), covered.join("|"));
      offsets.forEach(([start, end], index) => {
        assert.ok(start <= end && start >= (offsets[index - 1]?.[0] ?? 0), `${covered}`);
      });
    }
  });
}
