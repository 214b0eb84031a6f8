"""The tiny artifacts of the conformance suite: random checkpoints, one trained tokenizer, PEFT adapters of three ranks.

Knows nothing about the cases.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from edgelora.artifact.build import Build
from edgelora.artifact.convert_adapters import plain_for
from edgelora.artifact.export import export_artifact
from edgelora.artifact.options import ExportOptions
from edgelora.artifact.parts import Parts
from edgelora.artifact.store import add_adapter
from edgelora.checkpoint.folder import open_checkpoint
from edgelora.grid.make import Grid, parse_quant, plan_grid
from edgelora.grid.row_codes import round_rows, row_values
from edgelora.torch_model.build import load_torch
from edgelora.torch_model.choose_grid import evened
from edgelora.values import Checkpoint
from edgelora_onnx import OnnxExporter, exporter
from edgelora_runtime.manifest import FLOAT_CACHE, INT8_CACHE
from tests.rounding_cache import RoundingCache, steps_of

VOCAB_SIZE = 384
CONTEXT = 320  # more than the first capacity of the cache, so that growing is covered
QUANTS = {
    "tiny-float": "none", "tiny-int4": "int4", "tiny-int8": "int8", "tiny-web": "int4", "tiny-cache": "none",
    "tiny-blank": "none", "tiny-activated": "int4", "tiny-dora": "int4", "tiny-web-rows": "int4",
}  # fmt: skip
BLANK = "tiny-blank"  # a tokenizer that puts a blank in front, as SentencePiece does
ACTIVATED = "tiny-activated"  # adapters that act from their invocation on, beside a plain one
DORA = "tiny-dora"  # DoRA beside a plain adapter, on linears with biases
_CACHE = "tiny-cache"  # keys and values in 8 bits
_WEB = "tiny-web"  # the first form of web-wasm: the grid's values as 8 bits a row, activations of 16 bits in any call
ROWS = "tiny-web-rows"  # today's: activations of 8 bits in long calls, columns evened, attention without tiles
TEMPLATE = (
    "{{ bos_token }}\n"
    "{% for message in messages %}\n"
    "    {% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown') }}{% endif %}\n"
    "<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Writes a blank before a finished answer, as the templates of Llama 2 and Mistral do.
BLANK_TEMPLATE = TEMPLATE.replace(
    "{{ message['content'] | trim }}",
    "{{ ' ' if message['role'] == 'assistant' else '' }}{{ message['content'] | trim }}",
)
SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Zürich liegt am Zürichsee; die Straße führt über die Brücke nach Süden.",
    "Le garçon a mangé du pain à midi, puis il est allé à l'école.",
    "東京は日本の首都です。東京の人口は約1400万人です。",
    "Москва — столица России. Погода сегодня хорошая.",
    "Numbers: 0 1 2 3 10 100 2026, and emoji 🙂 🚀 👩‍🔬 end.",
    'yes no maybe {"street": "Main St", "number": 12} left right',
]  # fmt: skip


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE with 384 tokens that puts the begin token in front of raw text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", begin)]
    )
    return tokenizer


def train_blank_tokenizer() -> Tokenizer:
    """384 tokens as Llama's files have them: blanks as U+2581, one before a text, bytes for unknown characters."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    n_bytes = 256
    counts = Counter("".join(CORPUS).replace(" ", "\u2581"))
    # Named here, because the trainer would draw among characters that occur equally often.
    alphabet = sorted(sorted(counts), key=lambda character: -counts[character])[:50]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - n_bytes, special_tokens=[*SPECIAL, "<unk>"], initial_alphabet=alphabet,
        limit_alphabet=len(alphabet), show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator(CORPUS, trainer)
    data = json.loads(trained.to_str())
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = vocab | {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(n_bytes)}
    data["model"] |= {"byte_fallback": True, "fuse_unk": True}
    tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))]
    )
    return tokenizer


def write_checkpoint(folder: Path, name: str) -> Path:
    """A random checkpoint; weights are large enough that answers vary and adapters change them."""
    tokenizer = train_blank_tokenizer() if name == BLANK else train_tokenizer()
    shared: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "num_hidden_layers": 2,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.25,
        "bos_token_id": tokenizer.token_to_id("<|begin|>"),
        "eos_token_id": [tokenizer.token_to_id("<|end|>"), tokenizer.token_to_id("<|pad|>")],
    }
    if name in ("tiny-int4", DORA):  # biases, an untied head, and widths that are no multiple of the block
        config: Any = Qwen2Config(
            hidden_size=48, intermediate_size=80, num_attention_heads=3, num_key_value_heads=1, head_dim=16,
            tie_word_embeddings=name == DORA, **shared,
        )  # fmt: skip
    else:
        kv_heads = 2 if name == _CACHE else 1  # each head of the cache has steps of its own
        config = LlamaConfig(
            hidden_size=32, intermediate_size=64, num_attention_heads=2 * kv_heads, num_key_value_heads=kv_heads,
            head_dim=16, tie_word_embeddings=True, **shared,
        )  # fmt: skip
    torch.manual_seed(list(QUANTS).index(name))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("bias"):
                value.normal_(0, 0.1)
            elif name == ROWS and key.endswith("layernorm.weight"):  # inputs that differ, as those of trained models do
                value.uniform_(-3, 3).exp2_()
                value /= value.square().mean().sqrt()
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(BLANK_TEMPLATE if name == BLANK else TEMPLATE, encoding="utf-8")
    special = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**special, "tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
    )
    return folder


def write_adapters(
    checkpoint: Path, folder: Path, is_activated: bool = False, is_dora: bool = False
) -> dict[str, Path]:
    """Ranks 1, 4 and 8, saved by PEFT: attention alone, everything, and patterns with rank-stabilized scaling.

    Of activated ones the first stays plain, the second acts from the generation prompt on, the third from other words.
    Of DoRA the first stays plain likewise.
    """
    attention, mlp = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
    options: dict[str, dict[str, Any]] = {
        "one": {"r": 1, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj"]},
        "four": {"r": 4, "lora_alpha": 8, "target_modules": attention + mlp},
        "eight": {
            "r": 8, "lora_alpha": 8, "target_modules": ["o_proj", *mlp], "use_rslora": True,
            "rank_pattern": {"o_proj": 3, "layers.1.mlp.up_proj": 5}, "alpha_pattern": {"down_proj": 4},
        },
    }  # fmt: skip
    if is_activated:
        tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        words = [tokenizer.encode(text, add_special_tokens=False).ids for text in ("<|assistant|>", " the dog")]
        for name, invocation in zip(("four", "eight"), words, strict=True):
            options[name]["alora_invocation_tokens"] = invocation
    if is_dora:
        for name in ("four", "eight"):
            options[name]["use_dora"] = True
    for seed, (name, settings) in enumerate(options.items()):
        base = AutoModelForCausalLM.from_pretrained(checkpoint)
        torch.manual_seed(100 + seed)
        model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "lora_B" in key:
                    value.normal_(0, 0.3)
                elif "lora_magnitude_vector" in key:
                    value.mul_(torch.empty_like(value).uniform_(0.6, 1.6))
        model.save_pretrained(folder / name)
        _settle_config(folder / name, checkpoint.name)
    return {name: folder / name for name in options}


def write_artifact(name: str, work: Path, out: Path) -> Path:
    """The artifact ``out / name``; the checkpoint and adapters it came from stay in ``work / name``."""
    checkpoint = write_checkpoint(work / name / "base", name)
    is_web = name in (_WEB, ROWS)
    options = ExportOptions(
        target="web-wasm" if is_web else "cpu",
        # Float activations, or those of 16 bits: the same answer on every machine within rounding.
        accuracy_level=4 if is_web else 0,
        kv_cache=INT8_CACHE if name == _CACHE else FLOAT_CACHE,
        dora=name == DORA,
    )
    with _as_first_written() if name == _WEB else contextlib.nullcontext():
        export_artifact(Parts(grid_of(checkpoint, name)), out / name, Build(OnnxExporter(), options))
    for adapter, folder in write_adapters(
        checkpoint, work / name / "adapters", name == ACTIVATED, name == DORA
    ).items():
        with plain_for(out / name, folder) as plain:
            add_adapter(out / name, adapter, plain.path)
    return out / name


def grid_of(checkpoint: Path, name: str) -> Grid:
    """What the artifact called ``name`` is to multiply with."""

    def plan(base: Checkpoint) -> Grid:
        return plan_grid(base, parse_quant(QUANTS[name]))

    return (evened(plan) if name == ROWS else plan)(open_checkpoint(str(checkpoint)))


@contextlib.contextmanager
def _as_first_written() -> Iterator[None]:
    """Attention keeps its tiles: artifacts of that form are about, and every runtime goes on answering with them."""

    class Keep(ir.passes.InPlacePass):
        def call(self, model: ir.Model) -> ir.passes.PassResult:
            return ir.passes.PassResult(model, False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "UntileAttention", Keep)
        yield


class TorchAnswer:
    """Logits of PyTorch on the values that the artifact multiplies with, adapters merged straight from the PEFT files.

    ``noise`` is how far the artifact's arithmetic may be from them: activations are float, or have 16 bits, or a key at
    the edge of a step of the cache fell to the other side.
    """

    def __init__(self, work: Path, name: str, artifact: Path) -> None:
        self.grid = grid_of(work / name / "base", name)
        self._adapters = work / name / "adapters"
        self._whole_rows = name in (_WEB, ROWS)
        self._steps = steps_of(artifact / "decoder.onnx") if name == _CACHE else None
        self.noise = {_WEB: 1e-3, ROWS: 2e-3, _CACHE: 5e-2}.get(name, 5e-4)

    def logits(self, ids: list[int], blend: Mapping[str, float]) -> np.ndarray:
        """(len(ids), vocab_size) for a blend of adapters."""
        model = self.load()
        total = self.deltas(model, blend)
        model.load_state_dict({key: value + total[key] for key, value in model.state_dict().items()})
        with torch.no_grad():
            cache = None if self._steps is None else RoundingCache(self._steps)
            found: np.ndarray = model(torch.tensor([ids]), past_key_values=cache).logits[0].numpy()
        return found

    def deltas(self, model: torch.nn.Module, blend: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """What a blend of adapters adds to each tensor of the base ``model``."""
        before = model.state_dict()
        total = {key: torch.zeros_like(value) for key, value in before.items()}
        for adapter, weight in blend.items():
            base = self.load()
            merged = PeftModel.from_pretrained(base, str(self._adapters / adapter)).merge_and_unload().state_dict()
            for key, value in merged.items():
                total[key] += weight * (value - before[key])
        return total

    def activated(self, ids: list[int], adapter: str, weight: float = 1.0) -> np.ndarray:
        """(len(ids), vocab_size) of PEFT's own forward pass, in which it finds the invocation itself."""
        model = PeftModel.from_pretrained(self.load(), str(self._adapters / adapter)).eval()
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "lora_B" in key:
                    value.mul_(weight)
            found: np.ndarray = model(torch.tensor([ids])).logits[0].numpy()
        return found

    def load(self) -> torch.nn.Module:
        """The base on the values that ship."""
        model: torch.nn.Module = load_torch(self.grid.checkpoint, self.grid)
        if self._whole_rows:
            weights = dict(model.named_parameters())
            with torch.no_grad():
                for name, matrix in self.grid.matrices.items():
                    rows = round_rows(matrix, self.grid.column_factors.get(name))
                    weights[name].copy_(torch.from_numpy(row_values(rows)))
        return model


def _settle_config(folder: Path, name: str) -> None:
    """PEFT writes the folder of the base and a list in the order of a set; neither may change from run to run."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": name, "target_modules": sorted(config["target_modules"])}
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
