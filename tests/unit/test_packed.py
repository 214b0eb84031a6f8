"""Packed modules hold the grid's values bit for bit, multiply and differentiate like float ones, and keep no float."""

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from edgelora.grid.blocks import dequantize, quantize
from edgelora.torch_model.packed import PackedConv1D, PackedLinear, PackedMatrix, pack_module, weigh
from edgelora.values import QuantizedMatrix, QuantSpec

pytestmark = pytest.mark.usefixtures("one_thread")


def random_matrix(out_features: int, in_features: int, spec: QuantSpec) -> QuantizedMatrix:
    weight = np.random.default_rng(0).normal(0.02, 0.1, (out_features, in_features)).astype(np.float32)
    return quantize(weight, spec)


def float_linear(matrix: QuantizedMatrix, bias: bool = True) -> torch.nn.Linear:
    linear = torch.nn.Linear(matrix.in_features, matrix.out_features, bias=bias)
    linear.weight.data.copy_(torch.from_numpy(dequantize(matrix)))
    return linear.requires_grad_(False)


def packed_linear(matrix: QuantizedMatrix, source: torch.nn.Linear) -> torch.nn.Module:
    linear = torch.nn.Linear(matrix.in_features, matrix.out_features, bias=source.bias is not None, device="meta")
    pack_module(linear, PackedMatrix(matrix))
    linear.bias = source.bias
    return linear


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("in_features", "block_size"), [(96, 32), (100, 32), (48, 16), (70, 16), (40, 128)])
def test_values_are_those_of_numpy_bit_for_bit(bits, symmetric, in_features, block_size):
    matrix = random_matrix(37, in_features, QuantSpec(bits, block_size, symmetric))
    expected = dequantize(matrix)
    codes = PackedMatrix(matrix)
    assert codes.scales.dtype == torch.bfloat16
    assert np.array_equal(codes.rows(slice(3, 30)).numpy(), expected[3:30])
    order = [5, 0, 36, 5]
    assert np.array_equal(codes.rows(torch.tensor(order)).numpy(), expected[order])
    assert np.array_equal(torch.cat([rows for _, rows in codes.chunks()]).numpy(), expected)


@pytest.mark.filterwarnings("error")
def test_codes_are_shared_where_they_can_be():
    matrix = random_matrix(8, 64, QuantSpec(4))
    assert PackedMatrix(matrix).packed.data_ptr() == matrix.packed.ctypes.data
    matrix.packed.flags.writeable = False  # as an array mapped from a file is
    codes = PackedMatrix(matrix)
    assert codes.packed.data_ptr() != matrix.packed.ctypes.data
    assert np.array_equal(codes.rows(slice(None)).numpy(), dequantize(matrix))


def test_every_code_meets_every_zero_point():
    spec = QuantSpec(8, 256, symmetric=False)
    packed = np.tile(np.arange(256, dtype=np.uint8), (256, 1, 1))
    zeros = np.arange(256, dtype=np.uint8)[:, None]
    matrix = QuantizedMatrix(packed, np.full((256, 1), 0.5, np.float32), zeros, spec, 256)
    assert np.array_equal(PackedMatrix(matrix).rows(slice(None)).numpy(), dequantize(matrix))


@pytest.mark.parametrize(
    "spec", [QuantSpec(2, 32, False), QuantSpec(4), QuantSpec(4, 32, False), QuantSpec(8, 32, False)]
)
def test_unpacked_codes_give_the_same_rows(spec):
    matrix = random_matrix(6000, 100, spec)  # several chunks, and a last block that is padded
    codes = PackedMatrix(matrix)
    codes.unpack()
    assert np.array_equal(codes.rows(slice(None)).numpy(), dequantize(matrix))
    assert np.array_equal(codes.rows(torch.tensor([5999, 3])).numpy(), dequantize(matrix)[[5999, 3]])


def test_scales_that_bfloat16_cannot_hold_stay_float32():
    matrix = random_matrix(8, 64, QuantSpec(4))
    fine = QuantizedMatrix(matrix.packed, matrix.scales * np.float32(1.001), None, matrix.spec, 64)
    codes = PackedMatrix(fine)
    assert codes.scales.dtype == torch.float32
    assert np.array_equal(codes.rows(slice(None)).numpy(), dequantize(fine))


@pytest.mark.parametrize("spec", [QuantSpec(2, 32, symmetric=False), QuantSpec(4), QuantSpec(8)])
@pytest.mark.parametrize("shape", [(40, 100), (3000, 512)])  # the second takes several chunks
def test_products_and_gradients_equal_those_of_a_float_linear(spec, shape):
    matrix = random_matrix(*shape, spec)
    plain = float_linear(matrix)
    packed = packed_linear(matrix, plain)
    assert isinstance(packed, torch.nn.Linear)
    inputs = torch.randn(2, 5, shape[1])
    results = []
    for module in (plain, packed):
        given = inputs.clone().requires_grad_()
        output = module(given)
        (output.sin() * torch.arange(output.shape[-1])).sum().backward()
        results.append((output.detach(), given.grad))
    for one, other in zip(*results, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(one.abs().max())
    assert packed(inputs).requires_grad is False


def test_transposed_linears_answer_alike():
    matrix = random_matrix(40, 100, QuantSpec(4))
    plain = Conv1D(40, 100)
    plain.weight.data.copy_(torch.from_numpy(dequantize(matrix).T))
    packed = Conv1D(40, 100)
    packed.bias = plain.bias
    pack_module(packed, PackedMatrix(matrix))
    assert isinstance(packed, PackedConv1D)
    assert packed.weight.shape == plain.weight.shape
    inputs = torch.randn(2, 5, 100)
    assert torch.allclose(packed(inputs), plain(inputs), rtol=1e-5, atol=1e-5)


def test_autocast_multiplies_in_bfloat16_as_a_float_linear_does():
    matrix = random_matrix(64, 96, QuantSpec(4))
    plain = float_linear(matrix)
    packed = packed_linear(matrix, plain)
    inputs = torch.randn(7, 96, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(inputs), packed(inputs)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert float((found - expected).detach().abs().max()) <= 2**-7 * float(expected.detach().abs().max())
    found.float().sum().backward()
    assert inputs.grad is not None and inputs.grad.dtype == torch.float32


def test_nothing_in_float_is_kept_for_the_backward_pass():
    matrix = random_matrix(64, 96, QuantSpec(4))
    plain = float_linear(matrix, bias=False)
    kept: dict[str, list[tuple[int, ...]]] = {"plain": [], "packed": []}
    for name, module in (("plain", plain), ("packed", packed_linear(matrix, plain))):
        seen = kept[name]

        def note(tensor, seen=seen):
            seen.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            module(torch.randn(3, 96, requires_grad=True))
    assert (64, 96) in kept["plain"] or (96, 64) in kept["plain"]
    assert kept["packed"] == []


def test_the_weight_of_a_packed_module_cannot_be_mistaken_for_values():
    matrix = random_matrix(64, 96, QuantSpec(4))
    packed = packed_linear(matrix, float_linear(matrix))
    weight = packed.weight
    assert (tuple(weight.shape), weight.dtype) == ((64, 96), torch.float32)
    assert weight.untyped_storage().nbytes() == 4
    assert bool(weight.isnan().all())
    with pytest.raises(RuntimeError, match="single memory location"):
        weight.data += torch.ones(64, 96)  # what PEFT's merge does
    with pytest.raises(KeyError):
        packed.weight = torch.nn.Parameter(torch.zeros(64, 96))


def test_a_class_of_its_own_stays_itself():
    class Scaled(torch.nn.Embedding):
        def forward(self, input):
            return super().forward(input) * 3.0

    matrix = random_matrix(50, 64, QuantSpec(4))
    table = Scaled(50, 64, device="meta")
    codes = PackedMatrix(matrix)
    pack_module(table, codes)
    assert isinstance(table, Scaled)
    ids = torch.tensor([[4, 49], [0, 4]])
    assert np.array_equal(table(ids).numpy(), dequantize(matrix)[ids.numpy()] * np.float32(3))
    head = torch.nn.Linear(64, 50, bias=False, device="meta")
    pack_module(head, codes)
    assert isinstance(head, PackedLinear)
    tied = weigh(torch.nn.ModuleList([table, head]))
    assert tied.weights == 50 * 64
    assert tied.held_bytes == 50 * 64 // 2 + 50 * 2 * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("spec", [QuantSpec(2, 32, symmetric=False), QuantSpec(4), QuantSpec(8, 32, symmetric=False)])
def test_cuda_holds_the_same_values_and_gradients(spec):
    matrix = random_matrix(300, 200, spec)
    plain = float_linear(matrix)
    packed = packed_linear(matrix, plain).cuda()
    assert np.array_equal(packed.codes.rows(slice(None)).cpu().numpy(), dequantize(matrix))
    inputs = torch.randn(7, 200, requires_grad=True)
    expected = torch.autograd.grad(plain.cpu()(inputs).sin().sum(), inputs)[0]
    found = torch.autograd.grad(packed.cuda()(inputs.cuda()).sin().sum(), inputs)[0]
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)
