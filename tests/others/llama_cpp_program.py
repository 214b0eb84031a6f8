"""Loads a base and adapters with llama.cpp and prints greedy tokens and first odds without and with each, as JSON."""

import json
import sys

import xllamacpp  # type: ignore[import-not-found]  # lives in a folder of its own

asked = json.loads(sys.stdin.read())
parameters = xllamacpp.CommonParams()
parameters.model.path = asked["base"]
parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 256, 1, 1
# Both are narrower by default, and 2e-3 off in the odds.
parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
parameters.warmup = parameters.fit_params = False
parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in asked["adapters"]]
server = xllamacpp.Server(parameters)
answers = []
for active in range(-1, len(asked["adapters"])):
    answer = server.handle_completions(
        {
            "prompt": asked["prompt"],
            "n_predict": asked["count"],
            "temperature": 0,
            "n_probs": asked["top"],
            "cache_prompt": False,
            "ignore_eos": True,
            "lora": [{"id": index, "scale": float(index == active)} for index in range(len(asked["adapters"]))],
        }
    )
    odds = answer["choices"][0]["logprobs"]["content"]
    answers.append({"tokens": [item["id"] for item in odds], "first": odds[0]["top_logprobs"]})
print(json.dumps(answers))
