/** Answers the case of the page's address by each of these functions. */

export async function answerBy(functions, { artifact = "/artifact", ...options } = {}) {
  const { input_ids, adapter, max_new_tokens } = JSON.parse(new URLSearchParams(location.search).get("case"));
  const answers = [];
  for (const [name, open] of Object.entries(functions)) {
    const model = await open(artifact, { backend: "wasm", ...options });
    const ids = await model.generateIds(input_ids, { adapter, maxNewTokens: max_new_tokens });
    answers.push({ name, ids, backend: model.backend });
    await model.dispose();
  }
  return answers;
}
