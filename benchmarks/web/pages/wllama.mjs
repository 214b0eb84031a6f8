/**
 * wllama, llama.cpp in wasm, in a page: open with adapters, generate, switch.
 *
 * Knows nothing about turns; the functions are called from outside. Adapters must be there when the model is opened,
 * as further files of it, and a request says which acts.
 */

import { LoggerWithoutDebug, Wllama } from "@wllama/wllama";

let model;
let names;

/** `adapters` are name -> address. The package keeps what it downloads in the origin's private file system. */
export async function open({ address, adapters, threads }) {
  const paths = { default: new URL("/wllama/wllama.wasm", location.href).href };
  model = new Wllama(paths, { suppressNativeLog: true, logger: LoggerWithoutDebug });
  names = Object.keys(adapters);
  const addresses = [address, ...Object.values(adapters)].map((path) => new URL(path, location.href).href);
  const files = [];
  for (const url of addresses) {
    const kept = await model.modelManager.getModelOrDownload({ url }, {});
    files.push(...(await kept.open()));
  }
  const [last, count] = [files.length, String(files.length).padStart(5, "0")];
  const place = (index) => `models/model-${String(index + 1).padStart(5, "0")}-of-${count}.gguf`;
  await model.loadModel(files, {
    n_threads: threads,
    n_gpu_layers: 0,
    n_parallel: 1,
    lora_adapters: Array.from({ length: last - 1 }, (_, index) => ({ path: place(index + 1) })),
    lora_init_without_apply: true,
  });
  return `wllama, ${model.getNumThreads()} threads`;
}

/** Milliseconds for `count` greedy tokens after `text`, which must be `ids` in its own tokenizer, and how many came. */
export async function generate({ ids, text, count, adapter }) {
  const started = performance.now();
  const { usage } = await model.createCompletion({
    prompt: text,
    max_tokens: count,
    temperature: 0,
    ignore_eos: true,
    cache_prompt: false,
    lora: names.map((name, id) => ({ id, scale: Number(name === adapter) })),
  });
  const ms = performance.now() - started;
  if (usage.prompt_tokens !== ids.length) throw new Error(`${usage.prompt_tokens} tokens in, not ${ids.length}`);
  return { ms, tokens: usage.completion_tokens };
}
