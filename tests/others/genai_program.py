"""Opens an artifact with onnxruntime-genai and prints the greedy tokens with each adapter asked for, as JSON."""

import json
import sys

import numpy as np
import onnxruntime_genai as og  # type: ignore[import-not-found]  # lives in a folder of its own

asked = json.loads(sys.stdin.read())
model = og.Model(asked["folder"])
adapters = og.Adapters(model)
for name, file in asked["adapters"].items():
    adapters.load(file, name)
length = len(asked["prompt"]) + asked["count"]
answers = []
for name in asked["answers"]:
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=length, do_sample=False)
    generator = og.Generator(model, parameters)
    if name in asked["adapters"]:
        generator.set_active_adapter(adapters, name)
    generator.append_tokens(np.array(asked["prompt"], np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    answers.append([int(token) for token in generator.get_sequence(0)[len(asked["prompt"]) :]])
print(json.dumps(answers))
