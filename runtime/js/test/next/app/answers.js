"use client";

import { load, loadInWorker } from "@edgelora/runtime/web";
import { useEffect } from "react";

/** Leaves the answers of server, page and worker in `answers`. */
export function Answers({ server }) {
  useEffect(() => {
    globalThis.answers ??= answer(server);
  }, [server]);
  return <p>{server.join(" ")}</p>;
}

async function answer(server) {
  const { input_ids, adapter, max_new_tokens } = JSON.parse(new URLSearchParams(location.search).get("case"));
  const answers = [{ name: "server", ids: server }];
  for (const [name, open] of Object.entries({ load, loadInWorker })) {
    const model = await open("/artifact", { backend: "wasm" });
    answers.push({ name, ids: await model.generateIds(input_ids, { adapter, maxNewTokens: max_new_tokens }) });
    await model.dispose();
  }
  return answers;
}
