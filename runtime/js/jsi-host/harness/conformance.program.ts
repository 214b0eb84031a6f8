/** Every case of runtime/conformance through the real binding: conformance.js FOLDER. Prints what differs. */

import { type Case, runConformance } from "../../src/conformance/run.js";
import { load } from "../../src/react-native.js";
import { files, now, print, programArguments, runProgram } from "./host.js";

runProgram(async () => {
  const folder = programArguments[0] as string;
  const path = `${folder}/cases.json`;
  const text = new TextDecoder().decode(await files.readBytes(path, 0, await files.size(path)));
  const all = (JSON.parse(text) as { cases: Case[] }).cases;
  const cases = all.filter((item) => item.artifact !== "tiny-cache"); // binding.program.ts: it is refused here
  const begun = now();
  const results = await runConformance(
    (name) => load(`${folder}/${name}`, { files, hashes: name !== "tiny-wrong", threads: 1 }),
    cases,
  );
  const failures = results.filter((result) => result.failure !== null);
  for (const { artifact, kind, name, failure } of failures) print(`${artifact} ${kind} ${name}: ${failure}`);
  print(`${results.length - failures.length} of ${cases.length} cases, ${Math.round(now() - begun)} ms`);
  return failures.length === 0 && results.length === cases.length && cases.length > 0;
});
