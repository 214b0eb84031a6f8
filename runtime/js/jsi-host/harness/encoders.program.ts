/** Every case of encoders of runtime/conformance through the real binding: encoders.js FOLDER. Prints what differs. */

import { type Encoder, runEncoders } from "../../src/conformance/encoders.js";
import type { Case } from "../../src/conformance/run.js";
import { load } from "../../src/react-native.js";
import { files, now, print, programArguments, runProgram } from "./host.js";

runProgram(async () => {
  const folder = programArguments[0] as string;
  const path = `${folder}/encoders.json`;
  const text = new TextDecoder().decode(await files.readBytes(path, 0, await files.size(path)));
  const { cases } = JSON.parse(text) as { cases: Case[] };
  const begun = now();
  const open = (name: string) =>
    load(`${folder}/${name}`, { files, hashes: true, threads: 1, task: "any" }) as Promise<Encoder>;
  const results = await runEncoders(open, (name) => `${folder}/${name}`, cases);
  const failures = results.filter((result) => result.failure !== null);
  for (const { artifact, kind, name, failure } of failures) print(`${artifact} ${kind} ${name}: ${failure}`);
  print(`${results.length - failures.length} of ${cases.length} cases, ${Math.round(now() - begun)} ms`);
  return failures.length === 0 && results.length === cases.length && cases.length > 0;
});
