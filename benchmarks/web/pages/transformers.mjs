/**
 * transformers.js in a page: open and generate.
 *
 * Knows nothing about turns; the functions are called from outside.
 */

import { AutoModelForCausalLM, env, Tensor } from "@huggingface/transformers";

let model;

export async function open({ name, threads }) {
  env.allowLocalModels = true;
  env.allowRemoteModels = false;
  env.localModelPath = "/models/";
  env.backends.onnx.wasm.wasmPaths = "/ort-transformers/";
  env.backends.onnx.wasm.numThreads = threads;
  model = await AutoModelForCausalLM.from_pretrained(name, { dtype: "q8", device: "wasm" });
  return `transformers.js ${env.version}`;
}

/** Milliseconds for `count` greedy tokens after `ids`, and how many came. */
export async function generate({ ids, count }) {
  const shape = [1, ids.length];
  const started = performance.now();
  const found = await model.generate({
    inputs: new Tensor("int64", BigInt64Array.from(ids, BigInt), shape),
    attention_mask: new Tensor("int64", new BigInt64Array(ids.length).fill(1n), shape),
    max_new_tokens: count,
    min_new_tokens: count,
    do_sample: false,
  });
  return { ms: performance.now() - started, tokens: found.dims[1] - ids.length };
}
