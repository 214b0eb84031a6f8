"""An artifact with ``--genai``, opened by onnxruntime-genai: the same greedy tokens of the base and of two adapters."""

from tests.others.conftest import COUNT, PROMPT, Shared, answer, differ
from tests.others.environment import run_with


def test_genai_gives_the_tokens_of_our_runtime(shared: Shared) -> None:
    files = {name: str(shared.slots / "adapters" / name / "adapter.onnx_adapter") for name in shared.adapters}
    asked = {"folder": str(shared.slots), "adapters": files, "prompt": PROMPT, "count": COUNT}
    found = run_with("genai", {**asked, "answers": ["none", "a", "b", "none"]})
    ours = {spec: answer(shared.slots, spec) for spec in ("none", "a", "b")}
    assert differ(list(ours.values()))
    assert found == [ours[spec] for spec in ("none", "a", "b", "none")]


def test_genai_opens_a_merged_export(shared: Shared) -> None:
    asked = {"folder": str(shared.merged), "adapters": {}, "prompt": PROMPT, "count": COUNT, "answers": ["none"]}
    assert run_with("genai", asked) == [answer(shared.merged)]
