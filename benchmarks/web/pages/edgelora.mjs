/**
 * The project in a page: open, generate, switch.
 *
 * Knows nothing about turns; the functions are called from outside.
 */

import { load } from "@edgelora/web";

let model;

export async function open({ address, threads }) {
  model = await load(address, { backend: "wasm", threads, wasmPaths: "/ort/" });
  return model.backend;
}

/** Milliseconds for `count` greedy tokens after `ids`, and how many came. */
export async function generate({ ids, count, adapter }) {
  const started = performance.now();
  const tokens = await model.generateIds(ids, { maxNewTokens: count, adapter });
  return { ms: performance.now() - started, tokens: tokens.length };
}

export async function swap({ adapter }) {
  const started = performance.now();
  await model.setAdapter(adapter);
  return performance.now() - started;
}
