"""Triton's interpreter computes with NumPy what a GPU would: the kernels are those, the rounding is the GPU's but for
the order of sums. Its products of bfloat16 are wrong, so that float16 stands for it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.kernels.gpu import causal_attention as module
from selfloop.domains.text.kernels.gpu import triton_available
from selfloop.domains.text.kernels.gpu.causal_attention import PLANS, Blocks, Plan, causal_attention
from selfloop.domains.text.kernels.gpu.triton_available import triton_attends
from selfloop.domains.text.model import network
from selfloop.domains.text.model.loss import Batch, summed_loss
from selfloop.domains.text.model.network import Transformer, attention_backend, rotate, rotation_table
from selfloop.domains.text.model.shape import Shape

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3}


def random_numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def rotation_of(length: int, size: int) -> Tensor:
    """Of the first positions of a longer context, as a model's."""
    return rotation_table(Shape("llama", size, 1, 1, 2 * size, 2 * length, 300))[:, :length]


def reference(qkv: Tensor, rotation: Tensor | None) -> Tensor:
    """PyTorch's attention in float64."""
    q, k, v = qkv.double().permute(2, 0, 3, 1, 4)
    if rotation is not None:
        q, k = rotate(q, rotation.double()), rotate(k, rotation.double())
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def check(qkv: Tensor, rotation: Tensor | None = None, times: float = 1.0) -> None:
    """The result and the gradient are those of `reference`, to `times` the usual tolerance."""
    gradient = random_numbers(*qkv[:, :, 0].shape, dtype=qkv.dtype, seed=1)
    mine, expected = (qkv.clone().requires_grad_() for _ in range(2))
    found, wanted = causal_attention(mine, rotation), reference(expected, rotation)
    found.backward(gradient)
    wanted.backward(gradient.double())
    tolerance = TOLERANCE[qkv.dtype] * times
    for one, other in ((found, wanted), (mine.grad, expected.grad)):
        assert one is not None and other is not None
        torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", PLANS)
@pytest.mark.parametrize("length", [1, 64, 77])
def test_attention_and_its_gradient_are_those_of_pytorch(size: int, length: int) -> None:
    check(random_numbers(2, length, 3, 3, size))


def test_they_are_in_16_bits_with_sums_in_float32() -> None:
    check(random_numbers(2, 77, 3, 3, 16, dtype=torch.float16))


@pytest.mark.parametrize("size", PLANS)
@pytest.mark.parametrize("length", [1, 77])
def test_queries_and_keys_are_rotated_as_by_rotate_and_gradients_back(size: int, length: int) -> None:
    check(random_numbers(2, length, 3, 2, size), rotation_of(length, size))


def test_rotated_they_are_in_16_bits_too() -> None:
    rotation = rotation_of(77, 32).to(torch.float16)
    check(random_numbers(2, 77, 3, 3, 32, dtype=torch.float16), rotation, times=2)  # q and k are rounded once more


def test_a_rotation_of_another_length_is_refused() -> None:
    with pytest.raises(AssertionError):
        causal_attention(random_numbers(1, 5, 3, 2, 16), rotation_of(6, 16))


@pytest.mark.parametrize(("queries", "keys"), [(32, 16), (16, 32)])
def test_blocks_of_queries_and_of_keys_may_differ(queries: int, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger are those that a program has, the smaller those that it goes through."""
    more, fewer = max(queries, keys), min(queries, keys)
    plan = Plan(Blocks(more, fewer, 4, 1), Blocks(more, fewer, 4, 1), Blocks(fewer, more, 4, 1))
    monkeypatch.setitem(PLANS, 16, plan)
    for rotation in (None, rotation_of(71, 16)):
        check(random_numbers(1, 71, 3, 2, 16), rotation)


def test_large_scores_neither_overflow_nor_vanish() -> None:
    check(random_numbers(1, 40, 3, 1, 16) * 10, times=100)  # of some hundreds: as many digits fewer


def test_no_document_and_no_token_is_no_error() -> None:
    for shape in ((0, 5, 3, 2, 16), (2, 0, 3, 2, 16)):
        qkv = torch.empty(shape, requires_grad=True)
        causal_attention(qkv).sum().backward()
        assert qkv.grad is not None and qkv.grad.shape == shape


@pytest.mark.parametrize("rotation", [None, rotation_of(5, 16)], ids=["plain", "rotated"])
def test_pytorch_may_trust_what_the_operators_say_of_themselves(rotation: Tensor | None) -> None:
    torch.library.opcheck(module._forward, (random_numbers(2, 5, 3, 2, 16).requires_grad_(), rotation))
    qkv = random_numbers(2, 5, 3, 2, 16)
    out, log_sums = module._forward(qkv, rotation)
    torch.library.opcheck(module._backward, (out, qkv, rotation, out, torch.nan_to_num(log_sums)))


def losses_and_gradients(architecture: str, compiled: bool) -> list[Tensor]:
    """Of two batches of different lengths."""
    shape = Shape(architecture, 32, 2, 2, 48, 32, 300)  # type: ignore[arg-type]
    model = Transformer(shape)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    if compiled:
        model.compile_hidden()
    found = []
    for rows, length in ((3, 9), (2, 17)):
        ids = torch.arange(rows * length).view(rows, length) % 300
        loss = summed_loss(model, Batch(ids[:, :-1], ids[:, 1:], rows * (length - 1), None, False))
        loss.backward()
        found += [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_model_that_attends_by_it_has_the_same_loss_and_gradients(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = losses_and_gradients(architecture, compiled=False)
    monkeypatch.setattr(network, "triton_attends", lambda *given: True)
    for mine, other in zip(losses_and_gradients(architecture, compiled=False), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_it_does_not_break_the_graph_of_a_compiled_model(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = losses_and_gradients(architecture, compiled=False)
    monkeypatch.setattr(network, "triton_attends", lambda *given: True)
    compiled = torch.compile
    how = {"fullgraph": True, "backend": "aot_eager"}  # which leaves out what takes a minute, the C++ compiler
    monkeypatch.setattr(network.torch, "compile", lambda *given, **other: compiled(*given, **how, **other))
    for mine, other in zip(losses_and_gradients(architecture, compiled=True), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_only_a_gpu_takes_it_and_the_log_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, cpu = Shape("gpt2", 32, 2, 2, 48, 32, 300), torch.device("cpu")
    assert not triton_attends(cpu, torch.bfloat16, 16)
    assert attention_backend(shape, cpu, torch.bfloat16) != "TRITON"
    monkeypatch.setattr(triton_available, "triton_runs_on", lambda device: True)
    cuda = torch.device("cuda")
    assert attention_backend(shape, cuda, torch.bfloat16) == "TRITON"
    for dtype, size in ((torch.float32, 16), (torch.bfloat16, 24)):
        assert not triton_attends(cuda, dtype, size)
