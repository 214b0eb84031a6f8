/** Sampling is what docs/format.md says, also where the quick way through it ends. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkSampling, largest, logSoftmax, Pcg32, Sampler, type SamplingOptions } from "../src/core/sampling.js";

function random(count: number, seed: number): Float32Array {
  const generator = new Pcg32(BigInt(seed));
  return Float32Array.from({ length: count }, () => Math.round(generator.uniform() * 400) / 20); // with equal ones
}

interface Cuts {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
}

/** The definition, step by step over all candidates. */
function defined(logits: Float32Array, options: Cuts, uniform: number): number {
  const order = [...logits.keys()].sort(
    (one, other) => (logits[other] as number) - (logits[one] as number) || one - other,
  );
  let kept = options.topK > 0 ? order.slice(0, options.topK) : order;
  const peak = logits[order[0] as number] as number;
  const weights = kept.map((index) => Math.exp(((logits[index] as number) - peak) / options.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  let count = weights.length;
  if (options.topP < 1) {
    count = weights.findIndex((weight) => (sum += weight) >= options.topP * total) + 1 || weights.length;
  }
  count = Math.min(count, weights.filter((weight) => weight >= options.minP * (weights[0] as number)).length);
  kept = kept.slice(0, count);
  const mass = weights.slice(0, count).reduce((left, right) => left + right, 0);
  let reached = 0;
  const place = kept.findIndex((_, index) => (reached += weights[index] as number) > uniform * mass);
  return kept[place < 0 ? count - 1 : place] as number;
}

test("draws are those of the definition, over flat and steep distributions", () => {
  for (const [temperature, topK, topP, minP] of [
    [1, 0, 1, 0],
    [5, 0, 1, 0],
    [50, 0, 0.999, 0],
    [20, 700, 0.9, 0.01],
    [0.7, 40, 0.95, 0.05],
    [9, 0, 1, 0.2],
  ] as const) {
    const options = { temperature, topK, topP, minP, repetitionPenalty: 1, seed: 7 };
    const sampler = new Sampler(checkSampling(options).sampling);
    const generator = new Pcg32(7n);
    for (let turn = 0; turn < 40; turn++) {
      const logits = random(3000, turn);
      assert.equal(sampler.choose(logits), defined(logits, options, generator.uniform()), JSON.stringify(options));
    }
  }
});

test("greedy takes the lowest of equal ones, after the penalty", () => {
  const logits = Float32Array.of(1, 5, 5, -2);
  assert.equal(new Sampler(checkSampling({}).sampling).choose(logits), 1);
  const penalized = new Sampler(checkSampling({ repetitionPenalty: 2 }).sampling, [1]);
  assert.deepEqual([penalized.choose(logits), penalized.choose(logits)], [2, 1]);
  assert.deepEqual([...logits], [1, 5, 5, -2]);
});

test("the largest are those of a whole sort", () => {
  for (const count of [1, 5, 300, 999, 1000, 2000]) {
    const scores = random(1000, count);
    const sorted = [...scores.keys()].sort(
      (one, other) => (scores[other] as number) - (scores[one] as number) || one - other,
    );
    assert.deepEqual([...largest(scores, count)], sorted.slice(0, count));
  }
});

test("without a seed two samplers differ; a bigint seed is as wide as it is", () => {
  const logits = new Float32Array(5000);
  const drawn = (options: SamplingOptions) => {
    const sampler = new Sampler(checkSampling({ temperature: 1, ...options }).sampling);
    return Array.from({ length: 4 }, () => sampler.choose(logits)).join();
  };
  assert.notEqual(drawn({}), drawn({}));
  assert.equal(drawn({ seed: 5 }), drawn({ seed: 5n }));
  assert.notEqual(drawn({ seed: 2n ** 64n - 1n }), drawn({ seed: 2n ** 63n }));
});

test("log-probabilities add up to one", () => {
  const found = logSoftmax(Float32Array.of(1000, 999, -1e30));
  assert.ok(Math.abs((found[0] as number) + Math.log(1 + Math.exp(-1))) < 1e-12);
  assert.ok(Math.abs(found.reduce((sum, value) => sum + Math.exp(value), 0) - 1) < 1e-12);
});

test("every option out of range is named", () => {
  const { wrong } = checkSampling({
    temperature: -1,
    topK: 1.5,
    topP: 0,
    minP: 2,
    repetitionPenalty: Number.NaN,
    seed: -1,
  });
  assert.deepEqual(wrong, [
    "temperature is -1, expected a number from 0",
    "topK is 1.5, expected a whole number from 0 (0: no limit)",
    "topP is 0, expected a number above 0 and up to 1",
    "minP is 2, expected a number from 0 to 1",
    "repetitionPenalty is NaN, expected a number above 0 (1: no penalty)",
    "seed is -1, expected a whole number from 0 to 2**64 - 1 (a bigint above 2**53), or null",
  ]);
});
