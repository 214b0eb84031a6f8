"""Small sound files of every kind, to be damaged.

Knows nothing about readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

ROOT = Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "runtime/conformance/tiny-float"
RECEIPT = json.loads((ROOT / "runtime/conformance/refuse.json").read_text(encoding="utf-8"))["receipt"]

PATTERNS = (
    r".*\.(q|v)_proj",
    r"^(?:\w+\.)+q_proj$",
    r"(?:.*?(?:vision|text).*?(?:k|v)_proj.*?)|(?:\bmodel\.layers\.[\d]{1,}\.q)",
    r"^(?!.*visual).*[a-z_0-9]{2,}(?=proj)proj",
    "model.layers.0.self_attn.q_proj",
)
ROWS = (
    b'{"prompt": "a", "completion": "b"}\n{"text": "plain"}\n{"text": "x", "label": "y"}\n',
    (
        b'{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, '
        b'{"role": "assistant", "content": "\\ud83d\\ude00"}]}\n\n{"prompt": [{"role": "user", "content": "x"}], '
        b'"completion": [{"role": "assistant", "content": "y"}]}\r\n'
    ),
)
TABLE = b'id,prompt,completion,tools\r\n1,"a ""b""\r\nc",d,\r\n2,e,f,"[{""type"": ""function""}]"\r\n'
JOBS = (b'{"prompt": "a", "adapter": "one"}\n{"messages": [{"role": "user", "content": "b"}]}\n\n{"prompt": ""}\n',)
TEMPLATES = (
    (CONFORMANCE / "chat_template.jinja").read_text(encoding="utf-8"),
    (
        "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m.role | upper }}]{{ m['content'].strip() }}"
        "{{ eos_token if loop.last else '' }}{% endfor %}"
    ),
    (
        "{%- set ns = namespace(n=0) %}{%- macro line(m, i=1) -%}{{ m.content | trim }} {{ i }}{%- endmacro %}"
        "{%- for m in messages if m.role != 'system' %}{%- set ns.n = ns.n + 1 %}{{ line(m, ns.n) ~ '\\n' }}"
        "{%- if loop.index > 10 %}{% break %}{% endif %}{%- endfor %}{{ tools | tojson(indent=2) if tools else '' }}"
        "{% generation %}{{ messages[-1].content[:20].split(' ')[0] }}{% endgeneration %}{{ '%05d' % ns.n }}"
        "{{ range(3) | list | join(', ') }}{{ 'x' * 3 }}{{ messages | length / 2 }}{{ strftime_now('%Y') | int > 1 }}"
    ),
)


def parquet_file() -> bytes:
    """Rows with conversations and nulls."""
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}]
    rows = [{"conversations": turns, "text": None}]
    stream = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return bytes(stream.getvalue().to_pybytes())


def safetensors_files() -> tuple[bytes, ...]:
    """Two files, with tensors of many types, an empty one and metadata."""
    rng = np.random.default_rng(0)
    first = {
        "a": rng.standard_normal((3, 4)).astype(np.float32),
        "b.half": rng.standard_normal(5).astype(np.float16),
        "empty": np.zeros((0, 3), np.float32),
        "ids": np.arange(6, dtype=np.int64).reshape(2, 3),
        "scalar": np.array(1.5),
        "yes": np.array([True, False]),
    }
    return save(first, {"format": "pt"}), save({"x": np.arange(8, dtype=np.uint8)})


def tokenizer_files() -> tuple[bytes, ...]:
    """A byte-level BPE, a WordPiece and a Unigram tokenizer."""
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "the": 1, "##s": 2, "fox": 3, "[CLS]": 4}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece()
    pieces.post_processor = processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 4)])
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -2.0), ("<0x0A>", -3.0)], 0, True))
    unigram.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁"), normalizers.NFKC()])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    unigram.add_special_tokens(["<s>", "</s>"])
    return (CONFORMANCE / "tokenizer.json").read_bytes(), pieces.to_str().encode(), unigram.to_str().encode()


def gguf_files(folder: Path) -> tuple[bytes, ...]:
    """Llamas of 4, 16 and 8 bits, with the tokenizers of GPT-2 and of SentencePiece."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "made.gguf"
    return (
        _llama(path, "Q4_0", _add_byte_level),
        _llama(path, "F16", _add_byte_level),
        _llama(path, "Q8_0", _add_pieces),
    )


def _add_byte_level(writer: gguf.GGUFWriter) -> int:
    words = ["<|end|>", "<|im_start|>", "12", *(chr(code) for code in range(33, 62))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3, 3] + [1] * (len(words) - 2))
    writer.add_token_merges(["1 2"])
    return len(words)


def _add_pieces(writer: gguf.GGUFWriter) -> int:
    words = ["<s>", "</s>", "<unk>", *(f"<0x{code:02X}>" for code in range(16)), "▁", *"abcdefghij", "▁a", "ab"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([-float(rank) for rank in range(len(words))])
    writer.add_token_types([3, 3, 2] + [6] * 16 + [1] * (len(words) - 19))
    writer.add_add_space_prefix(True)
    return len(words)


def _llama(path: Path, kind: str, add_tokenizer: Callable[[gguf.GGUFWriter], int]) -> bytes:
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    n_tokens = add_tokenizer(writer)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template(TEMPLATES[0])
    shapes = {
        "token_embd": (n_tokens, 32), "blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32),
        "blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32), "blk.0.ffn_down": (32, 64),
        "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,), "output_norm": (32,),
    }  # fmt: skip
    for name, shape in shapes.items():
        stored = gguf.GGMLQuantizationType[kind if len(shape) == 2 else "F32"]
        values = gguf.quantize(rng.standard_normal(shape).astype(np.float32), stored)
        writer.add_tensor(f"{name}.weight", values, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def checkpoint_files() -> dict[str, bytes]:
    """A Hugging Face folder of a tiny llama in two shards."""
    rng = np.random.default_rng(0)
    layer = "model.layers.0"
    shapes = {
        "model.embed_tokens": (384, 32), f"{layer}.self_attn.q_proj": (32, 32), f"{layer}.self_attn.k_proj": (16, 32),
        f"{layer}.self_attn.v_proj": (16, 32), f"{layer}.self_attn.o_proj": (32, 32),
        f"{layer}.mlp.gate_proj": (64, 32),
        f"{layer}.mlp.up_proj": (64, 32), f"{layer}.mlp.down_proj": (32, 64), f"{layer}.input_layernorm": (32,),
        f"{layer}.post_attention_layernorm": (32,), "model.norm": (32,),
    }  # fmt: skip
    tensors = {f"{name}.weight": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    shards = {
        "model-00001-of-00002.safetensors": {name: item for name, item in tensors.items() if "embed" in name},
        "model-00002-of-00002.safetensors": {name: item for name, item in tensors.items() if "embed" not in name},
    }
    weight_map = {name: file for file, part in shards.items() for name in part}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 384, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "tie_word_embeddings": True, "torch_dtype": "float32",
        "bos_token_id": 1, "eos_token_id": [2, 3], "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip
    documents = {
        "config.json": config,
        "generation_config.json": {"eos_token_id": [2], "temperature": 0.6},
        "model.safetensors.index.json": {"metadata": {"total_size": 1}, "weight_map": weight_map},
        "tokenizer_config.json": {
            "bos_token": "<s>", "eos_token": {"content": "<|end|>", "lstrip": False}, "chat_template": TEMPLATES[1],
            "added_tokens_decoder": {"2": {"content": "<|end|>", "special": True}}, "add_bos_token": False,
        },
        "special_tokens_map.json": {"unk_token": {"content": "<unk>"}, "eos_token": "<|end|>"},
    }  # fmt: skip
    files = {name: json.dumps(document).encode() for name, document in documents.items()}
    files |= {name: save(part) for name, part in shards.items()}
    return files | {"tokenizer.json": (CONFORMANCE / "tokenizer.json").read_bytes()}
