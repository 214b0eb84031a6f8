/** A page that the server renders: it answers there, and has the browser answer too. */

import { load } from "@edgelora/runtime";
import { Answers } from "./answers.js";

export default async function Page({ searchParams }) {
  const { input_ids, adapter, max_new_tokens } = JSON.parse((await searchParams).case);
  const model = await load("public/artifact", { runtime: "wasm", threads: 1 });
  const ids = await model.generateIds(input_ids, { adapter, maxNewTokens: max_new_tokens });
  await model.dispose();
  return <Answers server={ids} />;
}
