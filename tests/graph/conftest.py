"""A frontend's graph of two tiny layers, as the passes find it."""

from collections.abc import Callable

import pytest

from edgelora_onnx.decoder_graph import DecoderGraph
from edgelora_onnx.frontends.mobius import build_decoder
from tests.parity.architectures import checkpoint_of, random_model


@pytest.fixture(scope="session")
def build_graph() -> Callable[[str], DecoderGraph]:
    """Build the graph of an architecture by name, afresh for each call because passes mutate it."""
    checkpoints = {name: checkpoint_of(random_model(name), name) for name in ("llama", "qwen3", "gpt2", "phi3")}
    return lambda name: build_decoder(checkpoints[name], context_length=64)
