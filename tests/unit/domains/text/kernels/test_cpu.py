"""The kernels for CPUs compute what PyTorch computes."""

import ctypes
import math

import pytest
import torch
import torch.nn.functional as F

from selfloop.domains.text.kernels.cpu.attention import attention, streams_of
from selfloop.domains.text.kernels.cpu.choice import draw
from selfloop.domains.text.kernels.cpu.code import CACHE_LINE, LANES, Kernel
from selfloop.domains.text.model import blocked_cache
from selfloop.domains.text.model.blocked_cache import BlockedMemory
from selfloop.domains.text.model.shape import Shape

DTYPES = [(torch.float32, torch.float32), (torch.float32, torch.bfloat16), (torch.bfloat16, torch.bfloat16)]


def exponentials(numbers: torch.Tensor) -> torch.Tensor:
    """Of the kernels."""
    kernel = Kernel(addresses=1, integers=0)
    (place,) = kernel.arguments
    kernel.code.write(place, "float32", kernel.code.exp(kernel.code.read(place, "float32")))
    run = kernel.compile()
    found = numbers.clone()
    for row in found:
        run(row.data_ptr())
    return found


def test_exponentials_are_as_precise_as_float32() -> None:
    for lowest, tolerance in ((1, 2e-7), (87, 5e-6)):  # what float32 holds of the argument
        numbers = -torch.linspace(0, lowest, 4096).reshape(-1, LANES)
        torch.testing.assert_close(exponentials(numbers).double(), numbers.double().exp(), rtol=tolerance, atol=0)


def test_exponentials_of_infinity_vanish_and_nan_stays() -> None:
    found = exponentials(torch.tensor([[-math.inf, math.nan, *[0.0] * (LANES - 2)]]))[0]
    assert found[0] == 0
    assert found[1].isnan()
    assert bool((found[2:] == 1).all())


def memory(heads: int, head_size: int, dtype: torch.dtype, sequences: int = 3, positions: int = 40) -> BlockedMemory:
    """Of one layer, full of what must not be read."""
    shape = Shape("gpt2", heads * head_size, 1, heads, 1, positions, 1)
    blocked = BlockedMemory(shape, sequences, positions, dtype)
    blocked.layers[0].fill_(math.nan)
    return blocked


def attend(blocked: BlockedMemory, position: int, qkv: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(qkv[:, 0])
    blocked.attend(0, 0, position, qkv, out)
    return out


@pytest.mark.parametrize(("dtype", "kv_dtype"), DTYPES)
@pytest.mark.parametrize("head_size", [1, 6, 8, 12, 16, 25, 32, 80, 128])
def test_attention_is_pytorchs(head_size: int, dtype: torch.dtype, kv_dtype: torch.dtype) -> None:
    blocked = memory(2, head_size, kv_dtype)
    generator = torch.Generator().manual_seed(head_size)
    seen = []
    for position in range(40):
        qkv = torch.randn(3, 3, 2, head_size, generator=generator).to(dtype)
        seen.append(qkv[:, 1:].to(kv_dtype).double())
        keys, values = torch.stack(seen, dim=3).unbind(1)
        expected = F.scaled_dot_product_attention(qkv[:, 0, :, None].double(), keys, values)[:, :, 0]
        tolerance = 3e-6 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(attend(blocked, position, qkv).double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_begins_with_a_cache_line(dtype: torch.dtype) -> None:
    for sequences in (1, 3, 100):
        assert memory(2, 16, dtype, sequences).layers[0].data_ptr() % CACHE_LINE == 0


def test_a_sequence_with_nan_gets_nan_and_the_others_do_not() -> None:
    blocked = memory(2, 16, torch.bfloat16)
    qkv = torch.ones(3, 3, 2, 16)
    qkv[1, 1, 0, 5] = math.nan  # a key of the first head
    attend(blocked, 0, qkv)
    after = attend(blocked, 1, torch.ones(3, 3, 2, 16))
    assert bool(after[1, 0].isnan().all())
    assert bool((after[[0, 2]] == 1).all()) and bool((after[1, 1] == 1).all())


def test_a_kernel_is_compiled_once_per_process() -> None:
    assert isinstance(attention(16, "float32", "bfloat16", 8), ctypes._CFuncPtr)
    assert attention(16, "float32", "bfloat16", 8) is attention(16, "float32", "bfloat16", 8)


def test_fewer_heads_are_prefetched_where_they_are_long() -> None:
    for positions, streams in {1: 4, 2048: 4, 2049: 2, 4096: 2, 8192: 1, 100_000: 1}.items():
        assert streams_of(32, "bfloat16", positions) == streams
    assert streams_of(128, "float32", 2048) == 1
    assert streams_of(1, "bfloat16", 1) == 2  # a line of each head per block and pass


@pytest.mark.parametrize("streams", [1, 2, 16])
def test_how_much_is_prefetched_changes_no_result(streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    qkv = torch.randn(40, 3, 3, 2, 32, generator=torch.Generator().manual_seed(0))
    blocked = memory(2, 32, torch.bfloat16)
    expected = [attend(blocked, position, given) for position, given in enumerate(qkv)]
    monkeypatch.setattr(blocked_cache, "streams_of", lambda *_: streams)
    other = memory(2, 32, torch.bfloat16)
    assert all(torch.equal(attend(other, *given), expected[given[0]]) for given in enumerate(qkv))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [1, 63, 64, 65, 1000, 8000])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_tokens_are_chosen_as_by_the_softmax(vocabulary: int, dtype: torch.dtype, temperature: float) -> None:
    """A token holds the numbers between the cumulative sums before and after it, also in rows that lie apart."""
    generator = torch.Generator().manual_seed(vocabulary)
    logits = (torch.randn(400, vocabulary + 3, generator=generator) * 3).to(dtype)[:, :vocabulary]
    uniforms = torch.rand(400, generator=generator)
    chosen = draw(logits, uniforms, temperature)
    after = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    above = after.gather(1, chosen[:, None])[:, 0]
    below = torch.nn.functional.pad(after, (1, 0)).gather(1, chosen[:, None])[:, 0]
    assert bool((below - 1e-5 <= uniforms).all() and (uniforms <= above + 1e-5).all())


def test_a_row_of_nan_gives_a_token() -> None:
    assert 0 <= int(draw(torch.full((1, 100), math.nan), torch.tensor([0.5]), 1.0)) < 100
