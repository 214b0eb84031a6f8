// Opens an exported folder with transformers.js and prints the greedy tokens of one prompt, as JSON.
import { text } from "node:stream/consumers";
import { AutoModelForCausalLM, Tensor } from "@huggingface/transformers";

const { folder, graph, prompt, count } = JSON.parse(await text(process.stdin));
const model = await AutoModelForCausalLM.from_pretrained(folder, {
  local_files_only: true,
  model_file_name: graph,
  subfolder: "",
  dtype: "fp32",
});
const ids = new Tensor("int64", BigInt64Array.from(prompt, BigInt), [1, prompt.length]);
const mask = new Tensor("int64", new BigInt64Array(prompt.length).fill(1n), ids.dims);
const found = await model.generate({ inputs: ids, attention_mask: mask, max_new_tokens: count, do_sample: false });
console.log(JSON.stringify(Array.from(found.data, Number).slice(prompt.length)));
