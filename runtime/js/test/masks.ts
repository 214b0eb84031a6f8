/** `node build/test/masks.js JOB.json`: the tokens that forms allow along given walks, for `tests/forms_alike.py`. */

import { readFileSync } from "node:fs";
import { FormMask, readForm, Vocabulary } from "../src/core/form-mask.js";

interface Job {
  readonly tokens: readonly (readonly [number, readonly number[]])[];
  readonly size: number;
  readonly ends: readonly number[];
  readonly cases: readonly { readonly schema: unknown; readonly regex: unknown; readonly walk: readonly number[] }[];
}

const job = JSON.parse(readFileSync(process.argv[2] as string, "utf8")) as Job;
const tokens = new Map(job.tokens.map(([id, bytes]) => [id, Uint8Array.from(bytes)]));
const vocabulary = new Vocabulary(tokens, job.size, job.ends, false);
const found = job.cases.map(({ schema, regex, walk }) => {
  const mask = new FormMask(vocabulary.hold(readForm(schema, regex)), vocabulary);
  return [null, ...walk].map((_, step) => {
    const logits = new Float32Array(job.size);
    const isWhole = mask.process([0, ...walk.slice(0, step)], logits);
    return isWhole ? null : [...logits.keys()].filter((id) => logits[id] === 0);
  });
});
console.log(JSON.stringify(found));
