"""The torch model holds the values of the grid and nothing else; batches and rates are functions of their position."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import transformers

from edgelora.errors import CheckpointError, ConfigError
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.packed import weigh
from edgelora.torch_model.reference import make_reference
from edgelora.training.batches import BatchPlan, batches_of_step, count_steps
from edgelora.training.lora import adapter_state, attach_lora, choose_targets, layer_linears, trainable
from edgelora.training.recipe import Recipe, learning_rate_at
from tests.parity.architectures import MODELS, VOCAB_SIZE, checkpoint_of, random_model

IDS = torch.tensor([[5, 9, 300, 41, 7, 7, 120, 499, 3, 18, 77]])


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", MODELS)
def test_loaded_model_answers_like_its_source(name):
    source = random_model(name)
    if name == "gemma2":
        source.set_attn_implementation("eager")  # the default leaves its softcapping out; loading must not
    with torch.inference_mode():
        expected, found = source(IDS).logits, load_torch(checkpoint_of(source, name), None)(IDS).logits
    assert float((expected - found).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("quant", ["int4", "int2", "fp16"])
def test_every_tensor_is_the_value_that_ships(name, quant):
    checkpoint = checkpoint_of(random_model(name), name)
    grid = plan_grid(checkpoint, parse_quant(quant))
    state = load_torch(checkpoint, grid).state_dict()
    for tensor in checkpoint.names():
        assert np.array_equal(state[tensor].numpy(), grid.value(tensor)), tensor
    if "lm_head.weight" not in checkpoint.names():
        embedding = "transformer.wte.weight" if name == "gpt2" else "model.embed_tokens.weight"
        assert np.array_equal(state["lm_head.weight"].numpy(), grid.value(embedding))


@dataclasses.dataclass(frozen=True)
class WatchedGrid(Grid):
    """A grid that notes which tensors were made float."""

    floats: list[str] = dataclasses.field(default_factory=list)

    def value(self, name):
        self.floats.append(name)
        return super().value(name)


def watched(checkpoint, plan):
    grid = plan_grid(checkpoint, plan)
    return WatchedGrid(**{field.name: getattr(grid, field.name) for field in dataclasses.fields(grid)})


def adapted(model, name):
    """The model's logits and LoRA gradients with the same random adapter on it."""
    attach_lora(model, Recipe(rank=3), name)
    torch.manual_seed(1)
    for parameter in trainable(model):
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    logits = model(IDS).logits
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(logits[0, :-1], IDS[0, 1:]), trainable(model))
    return logits.detach(), gradients


# llama, gpt2 and gemma3_text (a scaled embedding) tie their heads, mistral has one of its own
@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("quant", ["int2", "int4", "int8"])
def test_low_memory_answers_and_learns_like_float_weights(name, quant):
    checkpoint = checkpoint_of(random_model(name), name)
    grid = watched(checkpoint, parse_quant(quant))
    packed = load_torch(checkpoint, grid, low_memory=True)
    assert not set(grid.floats) & set(grid.matrices)
    assert not any(parameter.is_meta for parameter in packed.parameters())
    (expected, wanted), (found, gradients) = (adapted(load_torch(checkpoint, grid), name), adapted(packed, name))
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    for one, other in zip(gradients, wanted, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


def test_low_memory_keeps_what_has_no_codes_in_float():
    source = random_model("llama")
    checkpoint = checkpoint_of(source, "llama")
    grid = plan_grid(checkpoint, parse_quant("int4", block_size=64))  # 96 is no multiple: the embedding stays float
    assert "model.embed_tokens.weight" not in grid.matrices
    packed = load_torch(checkpoint, grid, low_memory=True)
    assert packed.lm_head.weight is packed.model.embed_tokens.weight
    assert torch.equal(packed(IDS).logits, load_torch(checkpoint, grid)(IDS).logits)
    packed.model.norm.weight.data.zero_()
    assert float(np.abs(checkpoint.read("model.norm.weight")).max()) > 0


@pytest.mark.parametrize("quant", ["none", "fp16"])
def test_low_memory_without_codes_is_refused(quant):
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    with pytest.raises(ConfigError, match=r"--low-memory .* nothing is quantized"):
        load_torch(checkpoint, plan_grid(checkpoint, parse_quant(quant)), low_memory=True)


def test_packed_weights_take_a_fifth_of_float32_at_most():
    config = transformers.LlamaConfig(
        vocab_size=2048, hidden_size=256, intermediate_size=704, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    checkpoint = checkpoint_of(transformers.LlamaForCausalLM(config), "llama")
    grid = plan_grid(checkpoint, parse_quant("int4"))
    plain, packed = weigh(load_torch(checkpoint, grid)), weigh(load_torch(checkpoint, grid, low_memory=True))
    assert plain.weights == packed.weights == sum(tensor.size for tensor in checkpoint.tensors.values())
    assert plain.ratio == 1.0
    assert packed.ratio <= 0.2
    assert packed.held_bytes * 8 / packed.weights == pytest.approx(4.5, abs=0.05)


def test_names_and_shapes_that_do_not_fit_are_listed():
    checkpoint = checkpoint_of(random_model("llama"), "llama")
    tensors = dict(checkpoint.tensors)
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(96, np.float32)
    tensors["model.norm.weight"] = np.zeros(97, np.float32)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(CheckpointError) as raised:
        load_torch(dataclasses.replace(checkpoint, tensors=tensors), None)
    for part in ("layers.1.mlp.up_proj.weight is missing", "q_proj.bias is unexpected", "(97,), expected (96,)"):
        assert part in str(raised.value)
    with pytest.raises(CheckpointError, match="nosuch"):
        load_torch(dataclasses.replace(checkpoint, config={"model_type": "nosuch"}), None)


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_lora_wraps_every_linear_of_the_layers_and_starts_at_the_base(name):
    model = random_model(name)
    linears = layer_linears(model)
    with torch.inference_mode():
        before = model(IDS).logits
        state = adapter_state(attach_lora(model, Recipe(rank=2), name))
        assert torch.equal(model(IDS).logits, before)
    assert len(state) == 2 * len(linears)
    again = adapter_state(attach_lora(random_model(name), Recipe(rank=2), name))
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_unknown_target_modules_are_named():
    linears = layer_linears(random_model("llama"))
    assert choose_targets(linears, ("v_proj", "self_attn.q_proj")) == ["self_attn.q_proj", "v_proj"]
    with pytest.raises(ConfigError, match=r"w_proj: no such linear.*q_proj"):
        choose_targets(linears, ("q_proj", "w_proj"))


@pytest.mark.parametrize("quant", ["int4", "none"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_reference_of_several_prompts_is_the_greedy_answer_to_each(name, quant):
    checkpoint = dataclasses.replace(checkpoint_of(random_model(name), name), eos_token_ids=())
    grid = watched(checkpoint, parse_quant(quant))
    # the second is one token, the third longer than the sliding windows of 8
    prompts = tuple(
        tuple(np.random.default_rng(length).integers(0, VOCAB_SIZE, length).tolist()) for length in (5, 1, 19)
    )
    reference = make_reference(grid, prompts, new_tokens=5)
    assert not set(grid.floats) & set(grid.matrices), "a matrix was made float as a whole"
    assert reference.prompts == prompts
    model = load_torch(checkpoint, grid)
    for prompt, last, greedy in zip(prompts, reference.last_logits, reference.greedy, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *greedy]])).logits[0, len(prompt) - 1 : -1]
        assert np.allclose(last, logits[0].numpy(), atol=1e-5)
        assert greedy == tuple(logits.argmax(dim=1).tolist())


def test_a_reference_ends_with_the_token_that_ends_the_answer():
    checkpoint = dataclasses.replace(checkpoint_of(random_model("qwen3"), "qwen3"), eos_token_ids=())
    prompts = [tuple(IDS[0].tolist()), (4,)]
    whole = make_reference(plan_grid(checkpoint, parse_quant("int4")), prompts, new_tokens=5).greedy
    end = whole[0][1]
    ends = dataclasses.replace(checkpoint, eos_token_ids=(end,))
    stopped = make_reference(plan_grid(ends, parse_quant("int4")), prompts, new_tokens=5).greedy
    assert stopped[0] == whole[0][: whole[0].index(end) + 1]
    assert stopped[1] == (whole[1][: whole[1].index(end) + 1] if end in whole[1] else whole[1])


def test_an_epoch_holds_every_example_once_in_batches_of_like_length():
    lengths = tuple(np.random.default_rng(0).integers(1, 99, 37).tolist())
    plan = BatchPlan(lengths, 8, seed=3)
    batches = plan.epoch(0)
    assert sorted(index for batch in batches for index in batch) == list(range(37))
    spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in batches)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    assert batches == BatchPlan(lengths, 8, seed=3).epoch(0)
    assert batches != plan.epoch(1)
    assert batches != BatchPlan(lengths, 8, seed=4).epoch(0)


def test_steps_cover_the_epochs_and_no_more():
    plan = BatchPlan((5,) * 10, 4, seed=0)  # 3 batches an epoch
    assert count_steps(plan, epochs=2, accumulate=4, max_steps=None) == 2
    assert count_steps(plan, epochs=2, accumulate=4, max_steps=9) == 9
    taken = [batches_of_step(plan, step, 4, last_batch=6) for step in range(2)]
    assert [len(batches) for batches in taken] == [4, 2]
    assert [batch for batches in taken for batch in batches] == [*plan.epoch(0), *plan.epoch(1)]


def test_learning_rate_rises_then_falls():
    options = Recipe(warmup=4, learning_rate=1.0)
    rates = [learning_rate_at(options, step, 24) for step in range(24)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[14] == pytest.approx(0.5)
    assert learning_rate_at(dataclasses.replace(options, schedule="linear"), 14, 24) == pytest.approx(0.5)
    assert learning_rate_at(dataclasses.replace(options, schedule="constant"), 23, 24) == 1.0


def test_bad_options_are_named_together():
    with pytest.raises(ConfigError) as raised:
        Recipe(
            rank=0, learning_rate=float("nan"), head_learning_rate=0.0, schedule="step", max_steps=0, target_modules=(),
            dropout=1.0,
        )  # fmt: skip
    for part in (
        "--head-learning-rate is 0.0",
        "--rank is 0",
        "--learning-rate is nan",
        "--schedule is 'step'",
        "--max-steps is 0",
        "--dropout is 1.0",
        "all-linear",
    ):
        assert part in str(raised.value)
