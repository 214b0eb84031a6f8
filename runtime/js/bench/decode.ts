/**
 * What a decode step costs in Node: the run of the graph, and everything around it.
 *
 *     npm run bench -- ARTIFACT [--adapter FOLDER] [--runtime native|wasm] [--context N] [--tokens N] [--threads N]
 *
 * Knows nothing about answers: greedy tokens after a made-up prompt; the medians over rounds are printed.
 */

import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { load } from "../src/node.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    adapter: { type: "string" },
    runtime: { type: "string", default: "native" },
    context: { type: "string", default: "16" },
    tokens: { type: "string", default: "48" },
    threads: { type: "string", default: "1" },
    rounds: { type: "string", default: "7" },
  },
});

const spent = { inRunMs: 0, runs: 0 };
const runtime = values.runtime === "wasm" ? "wasm" : "native";
const ort = runtime === "wasm" ? await import("onnxruntime-web") : await import("onnxruntime-node");
const create = ort.InferenceSession.create.bind(ort.InferenceSession) as (...given: unknown[]) => Promise<Timed>;
Object.assign(ort.InferenceSession, { create: async (...given: unknown[]) => timed(await create(...given)) });

interface Timed {
  run(...given: unknown[]): Promise<unknown>;
}

/** The session itself, with its runs counted and timed. */
function timed(session: Timed): Timed {
  const run = session.run.bind(session);
  session.run = async (...given) => {
    const started = performance.now();
    const results = await run(...given);
    spent.inRunMs += performance.now() - started;
    spent.runs += 1;
    return results;
  };
  return session;
}

function median(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((one, other) => one - other);
  return (sorted[Math.floor(sorted.length / 2)] as number).toFixed(2);
}

const started = performance.now();
const model = await load(positionals[0] as string, { runtime, threads: Number(values.threads) });
const loaded = performance.now();
if (values.adapter !== undefined) await model.loadAdapter("bench", values.adapter);
await model.setAdapter(values.adapter === undefined ? "none" : "bench");
const ready = performance.now();

const prompt = Array.from({ length: Number(values.context) }, (_, index) => 100 + ((index * 7) % 1000));
const rounds: { token: number; run: number; around: number }[] = [];
for (let round = 0; round < Number(values.rounds); round++) {
  const ids = [200 + round, ...prompt.slice(1)]; // another beginning, so that nothing of the last round is reused
  await model.generateIds(ids, { maxNewTokens: 1 });
  Object.assign(spent, { inRunMs: 0, runs: 0 });
  const begun = performance.now();
  await model.generateIds(ids, { maxNewTokens: Number(values.tokens) });
  const elapsed = performance.now() - begun;
  const { inRunMs, runs } = spent;
  rounds.push({ token: elapsed / runs, run: inRunMs / runs, around: (elapsed - inRunMs) / runs });
}
await model.dispose();

const of = (field: "token" | "run" | "around") => median(rounds.map((round) => round[field]));
console.log(
  `${model.backend}, ${values.threads} threads, context ${values.context}, adapter ${values.adapter ?? "none"}`,
);
console.log(`load ${(loaded - started).toFixed(0)} ms, adapter ready in ${(ready - loaded).toFixed(0)} ms`);
console.log(`a token ${of("token")} ms: in session.run ${of("run")} ms, around it ${of("around")} ms`);
