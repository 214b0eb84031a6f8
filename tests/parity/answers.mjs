// `node answers.mjs ARTIFACT IDS SPEC...`: the logits of an artifact with each SPEC after every id, as JSON by SPEC.

import { load } from "../../runtime/js/dist/node.js";

const [artifact, ids, ...specs] = process.argv.slice(2);
const model = await load(artifact);
const answers = {};
for (const adapter of specs) {
  const rows = await model.logits(JSON.parse(ids), { adapter });
  answers[adapter] = rows.map((row) => [...row]);
}
await model.dispose();
process.stdout.write(JSON.stringify(answers));
