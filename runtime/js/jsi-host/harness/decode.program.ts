/**
 * What a decode step and a switch of the adapter cost through the binding: decode.js ARTIFACT CONTEXT [ADAPTER].
 *
 * The rounds are those of bench/decode.ts in Node: greedy tokens after a made-up prompt, one thread, medians.
 */

import { load } from "../../src/react-native.js";
import { files, now, print, programArguments, runProgram } from "./host.js";

const TOKENS = 48;
const ROUNDS = 7;

function median(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((one, other) => one - other);
  return (sorted[Math.floor(sorted.length / 2)] as number).toFixed(2);
}

runProgram(async () => {
  const [artifact, context, adapter] = programArguments as [string, string, string | undefined];
  const model = await load(artifact, { files, threads: 1 });
  const prompt = Array.from({ length: Number(context) }, (_, index) => 100 + ((index * 7) % 1000));
  const [tokens, switches]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    if (adapter !== undefined) {
      await model.setAdapter("none");
      const before = now();
      await model.setAdapter(adapter);
      switches.push(now() - before);
    }
    const ids = [200 + round, ...prompt.slice(1)]; // another beginning, so that nothing of the last round is reused
    await model.generateIds(ids, { maxNewTokens: 1 });
    const begun = now();
    const made = await model.generateIds(ids, { maxNewTokens: TOKENS });
    tokens.push((now() - begun) / made.length);
  }
  print(`${model.backend}, context ${context}, adapter ${adapter ?? "none"}: a token ${median(tokens)} ms`);
  if (switches.length > 0)
    print(`first switch ${switches[0]?.toFixed(2)} ms, later ones ${median(switches.slice(1))} ms`);
  await model.dispose();
  return true;
});
