"""The kernels of decoding by Triton's interpreter, see `test_triton_attention`."""

import math

import pytest
import torch

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.kernels.gpu import decoding
from selfloop.domains.text.sampling import lanes
from selfloop.domains.text.sampling.sampler import choose_with_torch

POSITIONS = 70


@pytest.mark.parametrize(("heads", "width"), [(4, 8), (12, 64), (3, 24), (16, 16)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_rows_attend_to_what_they_have_and_those_that_stand_still_write_beside_it(
    heads: int, width: int, dtype: torch.dtype, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(6, 3, heads, width, generator=generator).to(dtype)
    memory = torch.randn(6, POSITIONS + 1, 2, heads, width, generator=generator).to(dtype)
    position = torch.tensor([0, 1, 31, 32, POSITIONS - 1, 20])
    moves = torch.tensor([True] * 5 + [False])
    expected = memory.clone()
    expected[torch.arange(6), position.where(moves, torch.tensor(POSITIONS))] = qkv[:, 1:]
    out = torch.full((6, heads, width), math.nan).to(dtype)
    decoding.attend(qkv, memory, position, moves, out)
    torch.testing.assert_close(memory, expected, rtol=1e-2, atol=0)  # the interpreter's bfloat16 rounds down
    for row in range(5):
        keys, values = expected[row, : position[row] + 1].double().unbind(dim=1)
        scores = torch.einsum("hd,phd->hp", qkv[row, 0].double(), keys) / math.sqrt(width)
        mixed = torch.einsum("hp,phd->hd", scores.softmax(dim=1), values)
        torch.testing.assert_close(out[row].double(), mixed, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("vocabulary", [60, 5000])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_those_of_the_inverse_transform(vocabulary: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(300, vocabulary, generator=generator)
    uniforms = torch.rand(300, generator=generator)
    uniforms[:2] = torch.tensor([0.0, 1 - 2**-24])
    logits[:, 7] = -1e9  # of probability 0
    chosen, finite = decoding.draw(logits, uniforms, temperature)
    expected = choose_with_torch(logits, uniforms, Sampling(temperature=temperature))
    assert finite.all() and not (chosen == 7).any()
    assert (chosen != expected).sum() <= 2  # rounding


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_found_and_choose_a_token_that_there_is(value: float) -> None:
    logits = torch.zeros(3, 100)
    logits[1, 40] = value
    chosen, finite = decoding.draw(logits, torch.full((3,), 0.999), 1.0)
    assert finite.tolist() == [True, False, True]
    assert chosen[1] == 0 and chosen[0] == 99


def test_lanes_sample_the_same_documents_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfloop.domains.text.model.network import Transformer
    from selfloop.domains.text.model.shape import Shape

    model = Transformer(Shape("gpt2", 16, 2, 2, 32, 24, 60))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    prompts = torch.zeros(12, 1, dtype=torch.int64)
    found = []
    for own in (False, True):
        monkeypatch.setattr(lanes, "triton_runs_on", lambda device, own=own: own)
        found.append([ids.tolist() for ids in lanes.sample(model.eval(), prompts, Sampling(), "part", batch=5)])
    assert found[0] == found[1]
