/** Answers one case with the root import, and one with `require`: Node takes ES modules by both. */

import { createRequire } from "node:module";
import { load } from "@edgelora/runtime";

const [artifact, given] = process.argv.slice(2);
const item = JSON.parse(given);
const required = createRequire(import.meta.url)("@edgelora/runtime");
for (const open of [load, required.load]) {
  const model = await open(artifact, { runtime: "wasm", threads: 1, hashes: true });
  const ids = await model.generateIds(item.input_ids, { adapter: item.adapter, maxNewTokens: item.max_new_tokens });
  console.log(JSON.stringify(ids));
  await model.dispose();
}
