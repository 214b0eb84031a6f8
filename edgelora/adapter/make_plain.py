"""Makes plain LoRA of an adapter of another kind, or for other names of the same modules.

folder, Base -> Conversion, PEFT folder
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelora.adapter.dora import GridWeights, convert_dora, is_dora, read_dora
from edgelora.adapter.foreign.read import PRODUCTS, read_foreign
from edgelora.adapter.foreign.stored import MLX_WEIGHTS_FILE, Base, Places, Stored
from edgelora.adapter.foreign.whole import needs_merge
from edgelora.adapter.plain import PREFIX, PlainAdapter, with_ranks, write_plain
from edgelora.adapter.spectrum import Spectrum, find_spectra
from edgelora.checkpoint.names import is_layer_linear, module_of, turned_shape
from edgelora.errors import AdapterError, ArtifactError, ConfigError
from edgelora.values import Checkpoint
from edgelora_runtime.adapter import WEIGHTS_FILE, Adapter, Factors
from edgelora_runtime.adapter_config import CONFIG_FILE, DORA_TYPE, changes_base, read_fields
from edgelora_runtime.files import write_atomically
from edgelora_runtime.manifest import Manifest, file_info
from edgelora_runtime.parse_json import read_json
from edgelora_runtime.receipt import Receipt, find_other_factors, read_receipt, write_receipt
from edgelora_runtime.safetensors import map_safetensors

CONVERSION_FILE = "conversion.json"
GGUF_SUFFIX = ".gguf"

_LONGEST_RECORD = 4 << 20  # bytes
_LARGEST_RANK = 256  # of a module that nobody has said a rank for; more is a second copy of the base
_NOISE = 1e-6  # singular values below this share of the largest are float32's own
_KEPT = ("base_model_name_or_path", "revision", "task_type", "fan_in_fan_out", "alora_invocation_tokens")


@dataclass(frozen=True, eq=False)
class Conversion:
    """A plain adapter, whose notes are the steps that led to it, and what a lower rank cost."""

    plain: PlainAdapter
    errors: Mapping[str, float] = dataclasses.field(default_factory=dict)  # module -> relative error of its delta

    @property
    def error(self) -> float:
        """The largest relative error of any module, in the Frobenius norm; 0 for an exact conversion."""
        return max(self.errors.values(), default=0.0)

    def record(self) -> dict[str, Any]:
        """What ``conversion.json`` says beside the folder."""
        return {
            "steps": list(self.plain.notes),
            "modules": len(self.plain.adapter.factors),
            "rank": self.plain.adapter.rank,
            "relative_error": float(f"{self.error:.6g}"),
            "errors": {module: float(f"{error:.6g}") for module, error in self.errors.items()},
        }


@dataclass(frozen=True)
class PlainFolder:
    """A folder of plain LoRA, and the steps that made it one; none where it was."""

    path: Path
    steps: tuple[str, ...] = ()


def base_of_artifact(manifest: Manifest) -> Base:
    """The places of an artifact's slots, and how many heads its projections have."""
    parts = [(part, slot) for slot in manifest.slots for part in slot.parts]
    width = manifest.model.head_dim
    rows = {part.module.rpartition(".")[2]: part.out_features for part, _ in parts}
    return Base(
        {part.module: (part.out_features, slot.in_features) for part, slot in parts},
        model_type=manifest.model.architecture,
        heads={kind: rows[kind] // width for kind in ("q_proj", "k_proj") if width and kind in rows},
    )


def base_of_checkpoint(checkpoint: Checkpoint) -> Base:
    """The linears of a model's layers, and its weights."""
    names = [name for name in checkpoint.names() if is_layer_linear(name) and len(checkpoint.shape(name)) == 2]
    shapes = {name: turned_shape(name, checkpoint.shape(name)) for name in names}
    return Base({module_of(name): (shape[0], shape[1]) for name, shape in shapes.items()}, checkpoint)


def make_plain(folder: Path, base: Base, initial: Path | None = None, rank: int | None = None) -> Conversion:
    """The adapter in ``folder`` as plain LoRA; raises AdapterError for one that is more than that.

    ``rank`` cuts every module to its largest singular values, and the error is told; without it nothing is lost, and
    an adapter whose exact rank is beyond bearing is refused.
    """
    if rank is not None and rank < 1:
        raise ConfigError(f"rank is {rank}, expected a whole number from 1")
    plain, stored = read_foreign(folder, base, initial)
    if not plain.factors:
        raise stored.refused(["no module has factors"])
    factors: Mapping[str, Factors] = plain.factors
    steps = plain.steps
    errors: dict[str, float] = {}
    if rank is not None or stored.config.get("peft_type") in PRODUCTS:
        spectra = find_spectra(plain.factors)
        ranks = {module: _true_rank(spectrum) for module, spectrum in spectra.items()}
        if rank is None:
            _check_ranks(stored, spectra, ranks)
        kept = {module: min(rank or true, true) for module, true in ranks.items()}
        factors = {module: spectrum.cut(kept[module]) for module, spectrum in spectra.items() if kept[module]}
        errors = {module: _error(spectrum, kept[module]) for module, spectrum in spectra.items() if kept[module]}
        errors = {module: error for module, error in errors.items() if kept[module] < ranks[module]}
        told = f"off by {100 * max(errors.values()):.3g} % at most" if errors else "exactly"
        steps = (*steps, f"rank {max(kept.values())} by singular values, {told}")
    adapter = Adapter(factors)
    return Conversion(PlainAdapter(adapter, with_ranks(_config_of(stored, factors), adapter), notes=steps), errors)


def write_record(folder: Path, conversion: Conversion) -> None:
    """Write ``conversion.json`` beside a PEFT folder: the steps, and what a lower rank cost each module."""
    record = {**conversion.record(), "weights": file_info(folder / WEIGHTS_FILE).sha256}
    write_atomically(folder / CONVERSION_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def find_loss(folder: Path) -> dict[str, Any] | None:
    """What a receipt says of the conversion that made the factors in ``folder``; None where it lost nothing.

    A ``conversion.json`` of other factors is passed over; raises AdapterError for one that cannot be read.
    """
    path = folder / CONVERSION_FILE
    if not path.is_file():
        return None
    record = read_json(path, AdapterError, "convert the adapter again, or delete the file", _LONGEST_RECORD)
    error = record.get("relative_error") if isinstance(record, dict) else None
    if isinstance(error, bool) or not isinstance(error, int | float):
        raise AdapterError(f"{path} has no relative_error; convert the adapter again, or delete the file")
    if not error or record.get("weights") != file_info(folder / WEIGHTS_FILE).sha256:
        return None
    return {field: record.get(field) for field in ("steps", "rank", "relative_error", "errors")}


@contextlib.contextmanager
def plain_folder(folder: Path, base: Base, weights: GridWeights | None = None) -> Iterator[PlainFolder]:
    """``folder`` itself where it is plain LoRA for ``base``, else what it becomes, for as long as the block runs.

    It may be a GGUF file of llama.cpp.
    ``weights`` are what DoRA is converted for; it keeps its receipt, which tells of the same answers.
    """
    plain: PlainAdapter | None = None
    receipt: Receipt | None = None
    if is_gguf(folder):
        from edgelora.adapter.gguf_file import read_gguf_adapter  # the gguf package is only needed here

        plain = read_gguf_adapter(folder, base)
        plain = dataclasses.replace(plain, notes=("llama.cpp's file as a folder of PEFT", *plain.notes))
    elif weights is not None and is_dora(folder):
        plain = convert_dora(read_dora(folder, base.places), weights)
        receipt = _own_receipt(folder, plain)
    elif is_foreign(folder, base.places):
        plain = make_plain(folder, base).plain
    if plain is None or not plain.notes:
        yield PlainFolder(folder)
        return
    with tempfile.TemporaryDirectory(prefix="edgelora-") as place:
        path = Path(place) / folder.absolute().name.removesuffix(GGUF_SUFFIX)
        write_plain(path, plain)
        if receipt is not None:
            write_receipt(path, dataclasses.replace(receipt, weights=file_info(path / WEIGHTS_FILE).sha256))
        yield PlainFolder(path, plain.notes)


def is_gguf(path: Path) -> bool:
    """Whether the path is called like a file of llama.cpp; one that is missing or torn is told by its reader."""
    return path.suffix == GGUF_SUFFIX and not path.is_dir()


def _own_receipt(folder: Path, plain: PlainAdapter) -> Receipt | None:
    """The receipt in ``folder``, which what it becomes can keep; raises AdapterError where it is of other factors."""
    receipt = read_receipt(folder)
    if receipt is not None and (other := find_other_factors(receipt, folder, plain.adapter.factors)):
        raise AdapterError(f"{folder}: {other}")
    return receipt


def is_foreign(folder: Path, places: Places) -> bool:
    """Whether only a conversion can make use of the folder; what cannot be read is the ordinary reader's matter."""
    if not (folder / CONFIG_FILE).is_file() or not ((folder / WEIGHTS_FILE).is_file() or _is_of_mlx(folder)):
        return False
    try:
        config = read_fields(folder)
        names = map_safetensors(folder / WEIGHTS_FILE) if (folder / WEIGHTS_FILE).is_file() else {}
    except (AdapterError, ArtifactError):
        return False
    if config.get("peft_type") != "LORA":
        return config.get("peft_type") != DORA_TYPE  # which is converted already
    start = config.get("init_lora_weights")
    if config.get("use_qalora") or (isinstance(start, str) and changes_base(start)):
        return True
    if needs_merge(folder):
        return False  # which the ordinary reader refuses by name
    modules = {name.partition(".lora_")[0].removeprefix(PREFIX) for name in names if ".lora_" in name}
    return bool(places) and not modules <= places.keys()


def _is_of_mlx(folder: Path) -> bool:
    return (folder / MLX_WEIGHTS_FILE).is_file()


def _true_rank(spectrum: Spectrum) -> int:
    largest = float(spectrum.values[0]) if len(spectrum.values) else 0.0
    return int(np.sum(spectrum.values > _NOISE * largest)) if largest > 0 else 0


def _error(spectrum: Spectrum, rank: int) -> float:
    left = float(np.sum(spectrum.values[rank:].astype(np.float64) ** 2))
    return math.sqrt(left / spectrum.energy) if spectrum.energy else 0.0


def _check_ranks(stored: Stored, spectra: Mapping[str, Spectrum], ranks: Mapping[str, int]) -> None:
    """Raise AdapterError for a module whose exact rank is beyond bearing, with what a bearable one costs."""
    worst = max(ranks, key=lambda module: ranks[module])
    if ranks[worst] > _LARGEST_RANK:
        error = max(_error(spectrum, 64) for spectrum in spectra.values())
        told = (
            f"{worst} has rank {ranks[worst]} as plain LoRA, at most {_LARGEST_RANK} go without asking; give --rank: "
            f"with 64 the delta is off by {100 * error:.2g} %"
        )
        raise stored.refused([told])


def _config_of(stored: Stored, factors: Mapping[str, Factors]) -> dict[str, Any]:
    kept = {field: stored.config[field] for field in _KEPT if stored.config.get(field) is not None}
    if "base_model_name_or_path" not in kept and isinstance(stored.config.get("model"), str):
        kept["base_model_name_or_path"] = stored.config["model"]  # as mlx-lm calls it
    return {"task_type": "CAUSAL_LM", **kept, "bias": "none", "inference_mode": True, "target_modules": sorted(factors)}
