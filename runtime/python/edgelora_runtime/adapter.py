"""Reads PEFT LoRA folders and holds them to the slots of an artifact; reads the SPECs that name adapters.

PEFT folder, Slot -> Adapter
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelora_runtime.adapter_config import CONFIG_FILE, EXPECTED, LoraConfig, is_saved, read_config
from edgelora_runtime.claims import Narrowing, Targets, claims
from edgelora_runtime.errors import AdapterError, ArtifactError
from edgelora_runtime.files import restore
from edgelora_runtime.manifest import Slot
from edgelora_runtime.names import NO_ADAPTER, is_adapter_name
from edgelora_runtime.parse_json import join_some, show
from edgelora_runtime.shared_factors import map_tensors

FloatArray = npt.NDArray[np.float32]
Spec = tuple[tuple[str, float], ...]  # adapter names with their weights; empty means no adapter

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

_KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>A|B|gain)(?:\.default)?\.weight")
_SAVED = re.compile(r"\.modules_to_save(?:\.default)?(?=\.)")
_TERM = re.compile(r"[^\s+:/\\]+")  # a name that nobody has is told as such, with the nearest one
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIMENSIONS = {"A": (2, "two dimensions"), "B": (2, "two dimensions"), "gain": (1, "one dimension")}
_NO_CHANGE = 1e-8  # root mean square of a delta that float32 weights cannot even hold


@dataclass(frozen=True, eq=False)
class Factors:
    """One adapted module: ``delta = scaling * b @ a``, and of DoRA ``gain`` times what the base's weight gives."""

    a: FloatArray  # (rank, in_features)
    b: FloatArray  # (out_features, rank)
    scaling: float
    gain: FloatArray | None = None  # (out_features,)

    def delta(self, rows: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """What is added to the weight, or to some rows of it: (rows, in_features) in float32."""
        added: FloatArray = np.float32(self.scaling) * ((self.b if rows is None else self.b[rows]) @ self.a)
        return added


@dataclass(frozen=True, eq=False)
class Adapter:
    """Every adapted module of a PEFT folder, by its name in the checkpoint.

    ``targets`` are PEFT's ``target_modules``, a pattern or name endings, None where they name no modules; ``narrowing``
    is what other fields take out of them.
    ``head`` holds the tensors of ``modules_to_save`` by their names in the checkpoint; ``saved`` are those modules.
    ``notes`` are lines about what was left unread, and changes nothing as far as anybody knows.
    ``invocation`` are token ids of an activated adapter: it acts from their last place in a prompt on.
    ``grid`` is the one that the gains of DoRA were computed on, ``base`` what its configuration calls the base model.
    """

    factors: Mapping[str, Factors]
    targets: Targets | None = None
    head: Mapping[str, FloatArray] = field(default_factory=dict)
    saved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    invocation: tuple[int, ...] = ()
    narrowing: Narrowing = field(default_factory=Narrowing)
    grid: str | None = None
    base: str | None = None

    @property
    def rank(self) -> int:
        """The largest rank of any module; 0 of an adapter that is a head alone."""
        return max((int(item.a.shape[0]) for item in self.factors.values()), default=0)

    def claims(self, module: str) -> bool:
        """Whether its configuration says that ``module`` has factors."""
        return claims(module, self.targets, self.narrowing)


def read_adapter(folder: Path, with_head: bool = False, with_gains: bool = False) -> Adapter:
    """Read ``adapter_model.safetensors`` and ``adapter_config.json``; raises one AdapterError.

    ``with_head`` takes fully trained modules too, as adapters of a model with a head have them, and ``with_gains`` DoRA
    that was converted for a grid, of which A and B alone are not all.
    Factors stored as float32 are read-only views of the file, which may be replaced, but not cut short, meanwhile.
    """
    restore(folder)
    for file, advice in (
        (CONFIG_FILE, "expected a folder saved by PEFT"),
        (WEIGHTS_FILE, "save the adapter with safe_serialization=True"),
    ):
        if not (folder / file).is_file():
            found = f" but {PICKLE_FILE}, which can run code when it is opened" if _has_pickle(folder, file) else ""
            raise AdapterError(f"{folder} has no {file}{found}; {advice}")
    config = read_config(folder, with_head, with_gains)  # first: the tensors of another method would only add noise
    try:
        tensors = map_tensors(folder / WEIGHTS_FILE)
    except ArtifactError as error:
        raise AdapterError(str(error)) from error
    return make_adapter(config, tensors, str(folder))


def make_adapter(config: LoraConfig, tensors: Mapping[str, npt.NDArray[Any]], where: str) -> Adapter:
    """The adapter that settings and tensors of PEFT are; raises one AdapterError, which calls it ``where``."""
    with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond float32 become infinite, and are refused
        sides, head, wrong, notes = _collect(tensors, config)
    factors: dict[str, Factors] = {}
    for module, pair in sorted(sides.items()):
        rank = config.rank_of(module)
        problem = _pair_problem(pair, rank, config.grid is not None)
        if problem:
            wrong.append(f"{module}: {problem}")
        else:
            factors[module] = Factors(pair["A"], pair["B"], config.scaling_of(module, rank), pair.get("gain"))
    if not tensors:
        wrong.append(f"{WEIGHTS_FILE} holds no tensors")
    if wrong:
        raise AdapterError(f"{where} cannot be used: {join_some(wrong)}; {EXPECTED}")
    if config.unknown:
        unknown = join_some(map(show, config.unknown), ", ")
        notes.append(f"{CONFIG_FILE} has {unknown}, which this release does not know and leaves unread")
    return Adapter(
        factors,
        config.targets,
        head,
        config.saved,
        tuple(notes),
        config.invocation,
        config.narrowing,
        grid=config.grid,
        base=config.base,
    )


def fit_adapter(adapter: Adapter, slots: Sequence[Slot], where: str) -> None:
    """Check that every module has its place in ``slots`` and that something changes; ``where`` names the adapter.

    Raises one AdapterError that lists every module without a slot, every one that the configuration claims and the
    file lacks, or the other way around, and every wrong shape.
    """
    places = {part.module: (slot, part) for slot in slots for part in slot.parts}
    missing = [module for module in adapter.factors if module not in places]
    if missing:
        share = "none" if len(missing) == len(adapter.factors) else f"{len(adapter.factors) - len(missing)}"
        known = next(iter(places), "no slots at all")
        raise AdapterError(
            f"{where}: {share} of its {len(adapter.factors)} modules are in this artifact (which has {known}, …); "
            f"missing: {join_some(missing, ', ')}; use an adapter trained for this base"
        )
    absent = [module for module in places if module not in adapter.factors and adapter.claims(module)]
    if absent:
        raise AdapterError(
            f"{where} is incomplete: {len(absent)} of the {len(absent) + len(adapter.factors)} modules that its "
            f"target_modules ask for have no factors: {join_some(absent, ', ')}; save or copy the adapter again"
        )
    unclaimed = [module for module in adapter.factors if adapter.targets is not None and not adapter.claims(module)]
    if unclaimed:
        raise AdapterError(
            f"{where} has factors for {len(unclaimed)} modules that its {CONFIG_FILE} does not claim: "
            f"{join_some(unclaimed, ', ')}; save or copy the adapter again"
        )
    wrong = []
    for module, item in adapter.factors.items():
        slot, part = places[module]
        found = (item.a.shape[1], item.b.shape[0])
        expected = (slot.in_features, part.out_features)
        if found != expected:
            wrong.append(f"{module} maps {found[0]} to {found[1]} features, expected {expected[0]} to {expected[1]}")
    if wrong:
        raise AdapterError(f"{where} does not fit: {join_some(wrong)}; use an adapter trained for this base")
    if any(item.gain is not None and places[module][0].gain is None for module, item in adapter.factors.items()):
        raise AdapterError(no_place_for_gains(where))
    if adapter.factors and not any(_changes(item) for item in adapter.factors.values()):
        raise AdapterError(
            f"{where} changes nothing: alpha, A or B is zero or next to it in every module; was it trained and saved?"
        )


def no_place_for_gains(where: str) -> str:
    """Why DoRA is refused by slots that would leave its gains out."""
    return (
        f"{where} is DoRA, and the slots of this artifact have no place for its gains; export it again with --dora, or "
        "with --merge ADAPTER_DIR"
    )


def parse_spec(text: str) -> Spec:
    """``none``, ``NAME``, ``NAME:WEIGHT``, or several of these joined by ``+``; raises AdapterError."""
    advice = "expected none, NAME, NAME:WEIGHT or a blend such as a:0.7+b:0.3"
    if not isinstance(text, str):
        raise AdapterError(f"adapter SPEC is {text!r}; {advice}")
    if text.strip() == NO_ADAPTER:
        return ()
    parts = []
    for term in text.split("+"):
        name, colon, weight_text = term.strip().partition(":")
        if not _TERM.fullmatch(name) or name == NO_ADAPTER:
            raise AdapterError(f"adapter SPEC {text!r}: {name!r} is no adapter name in a blend; {advice}")
        weight = 1.0 if not colon else float(weight_text) if _NUMBER.fullmatch(weight_text.strip()) else math.nan
        if not math.isfinite(weight):
            raise AdapterError(f"adapter SPEC {text!r}: weight {weight_text!r} is not a number; {advice}")
        parts.append((name, weight))
    return tuple(parts)


def check_name(name: str) -> None:
    """Raise AdapterError for a name that a SPEC, a command line or a file system could not hold."""
    if not isinstance(name, str) or not is_adapter_name(name):
        raise AdapterError(
            f"adapter name {name!r} cannot be used; start with a letter or digit, go on with letters, digits, "
            f"'.', '_' or '-', at most 64 of them, and leave {NO_ADAPTER!r} to the base"
        )


def _collect(
    tensors: Mapping[str, npt.NDArray[Any]], config: LoraConfig
) -> tuple[dict[str, dict[str, FloatArray]], dict[str, FloatArray], list[str], list[str]]:
    """For each module its sides in float32 (A, B, gain), tensors of saved modules, lines of what is wrong, notes."""
    sides: dict[str, dict[str, FloatArray]] = {}
    head: dict[str, FloatArray] = {}
    wrong: list[str] = []
    notes: list[str] = []
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None and is_saved(name := _SAVED.sub("", key.removeprefix("base_model.model."), 1), config.saved):
            if name in head:
                twice = f"{name} is there twice, under two names"
                (notes if _is_same(head[name], value) else wrong).append(twice)
            elif value.dtype.kind != "f" or not value.size:
                wrong.append(f"{key} is {value.dtype} {value.shape}, expected floats")
            elif not _is_finite(tensor := value.astype(np.float32, copy=False)):
                wrong.append(f"{key} holds numbers that are not finite")
            else:
                head[name] = tensor
        elif match is None or (match["side"] == "gain" and config.grid is None):
            wrong.append(f"{key} is no LoRA factor")
        elif value.ndim != _DIMENSIONS[match["side"]][0] or value.dtype.kind != "f" or not value.size:
            expected = _DIMENSIONS[match["side"]][1]
            wrong.append(f"{key} is {value.dtype} {value.shape}, expected {expected} of floats")
        elif (known := sides.get(match["module"], {}).get(match["side"])) is not None:
            twice = f"{match['module']} has lora_{match['side']} twice, under two names"
            (notes if _is_same(known, value) else wrong).append(twice)
        elif not _is_finite(factor := value.astype(np.float32, copy=False)):
            wrong.append(f"{key} holds numbers that are not finite")
        else:
            sides.setdefault(match["module"], {})[match["side"]] = factor
    return sides, head, wrong, notes


def _is_same(one: FloatArray, other: npt.NDArray[Any]) -> bool:
    return other.dtype.kind == "f" and np.array_equal(one, other.astype(np.float32, copy=False))


def _has_pickle(folder: Path, missing: str) -> bool:
    return missing == WEIGHTS_FILE and (folder / PICKLE_FILE).is_file()


def _is_finite(values: FloatArray) -> bool:
    flat = values.reshape(-1)
    # One pass without a temporary: NaN and infinity survive a sum of squares. A sum that overflows is looked into.
    return math.isfinite(np.dot(flat, flat)) or bool(np.isfinite(flat).all())


def _changes(item: Factors) -> bool:
    gains = item.gain is not None and float(np.abs(item.gain).max()) > _NO_CHANGE
    return gains or _largest_rms(item) > _NO_CHANGE


def _largest_rms(item: Factors) -> float:
    """An upper bound on the root mean square of the delta."""
    norms = float(np.linalg.norm(item.a)) * float(np.linalg.norm(item.b))
    return abs(item.scaling) * norms / math.sqrt(item.a.shape[1] * item.b.shape[0])


def _pair_problem(pair: Mapping[str, FloatArray], rank: int, has_gains: bool) -> str | None:
    missing: Iterable[str] = sorted({"A", "B", *(["gain"] if has_gains else [])} - pair.keys())
    if missing:
        return f"lora_{', lora_'.join(missing)} is missing"
    found = (pair["A"].shape[0], pair["B"].shape[1])
    if found != (rank, rank):
        return f"ranks of A and B are {found[0]} and {found[1]}, the config says {rank}"
    if has_gains and len(pair["gain"]) != len(pair["B"]):
        return f"lora_gain has {len(pair['gain'])} numbers, B {len(pair['B'])} rows"
    return None
