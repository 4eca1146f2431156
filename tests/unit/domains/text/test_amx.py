"""Models are decoded in the processor's tiles as PyTorch decodes them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.kernels.cpu.amx import has_amx
from selfloop.domains.text.model.kv_cache import KVCache, cache_memory
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import amx
from selfloop.domains.text.sampling.amx import TiledDecoder, fits_tiles
from selfloop.domains.text.sampling.sampler import sample

CPU = torch.device("cpu")
TILES = pytest.mark.skipif(not has_amx(), reason="the processor has no AMX")


def random_model(architecture: str, hidden: int = 64, inner: int = 96, vocabulary: int = 300) -> Transformer:
    """Every weight random and large enough to matter, biases and norms too."""
    model = Transformer(Shape(architecture, hidden, 2, 4, inner, 24, vocabulary))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.15, generator=generator)
    return model.eval()


def logits(model: Transformer, sequences: int) -> torch.Tensor:
    """After six steps, float32 [steps, sequences, vocabulary]; a sequence's tokens are the same in any batch."""
    ids = torch.randint(300, (100, 6), generator=torch.Generator().manual_seed(2))[:sequences]
    dtype = next(model.parameters()).dtype
    cache = KVCache(cache_memory(model.shape, sequences, 24, dtype, CPU), 0, sequences)
    with torch.inference_mode():
        return torch.stack([model.step(column, [cache]) for column in ids.T]).float()


def tiled(model: Transformer) -> Transformer:
    model.decode = TiledDecoder(model)  # type: ignore[method-assign]
    return model


@TILES
@pytest.mark.parametrize("sequences", [1, 37, 100])
@pytest.mark.parametrize(("hidden", "inner", "vocabulary"), [(32, 64, 300), (96, 160, 320), (256, 1024, 1001)])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_logits_are_no_farther_from_float32_than_pytorchs_in_bfloat16(
    architecture: str, hidden: int, inner: int, vocabulary: int, sequences: int
) -> None:
    model = random_model(architecture, hidden, inner, vocabulary)
    exact = logits(model, sequences)
    model = model.to(torch.bfloat16)
    theirs = (logits(model, sequences) - exact).abs().mean()
    ours = (logits(tiled(model), sequences) - exact).abs().mean()
    assert 0 < ours < 1.1 * theirs < 0.02 * exact.abs().mean()


@TILES
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_logits_of_a_sequence_have_the_same_bytes_in_any_batch_and_thread(architecture: str) -> None:
    model = tiled(random_model(architecture).to(torch.bfloat16))
    expected = logits(model, 100)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda sequences: logits(model, sequences), [1, 31, 32, 33, 64, 100] * 3):
            assert torch.equal(found, expected[:, : found.shape[1]])


def attend_to_itself(layer: int, qkv: torch.Tensor, mixed: torch.Tensor) -> None:
    """Attention to one position."""
    mixed.copy_(qkv[:, 2])


@TILES
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize(("sequences", "vocabulary", "allowed"), [(1, 300, 300), (37, 320, 290), (200, 1001, 32)])
def test_tokens_are_drawn_as_by_the_softmax(sequences: int, vocabulary: int, allowed: int, temperature: float) -> None:
    """A token holds the numbers between the cumulative sums before and after it."""
    decoder = TiledDecoder(random_model("gpt2", vocabulary=vocabulary).to(torch.bfloat16), allowed)
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        for _ in range(10):
            ids = torch.randint(300, (sequences,), generator=generator)
            step = ids, torch.zeros_like(ids), attend_to_itself
            uniforms = torch.rand(sequences, generator=generator)
            chosen = decoder.draw(*step, uniforms, temperature)
            assert int(chosen.max()) < allowed
            after = (decoder(*step)[:, :allowed].double() / temperature).softmax(dim=1).cumsum(dim=1)
            above = after.gather(1, chosen[:, None])[:, 0]
            before = F.pad(after, (1, 0)).gather(1, chosen[:, None])[:, 0]
            rounding = 4e-3  # of logits, which are not rounded where tokens are drawn
            assert bool((before - rounding <= uniforms).all() and (uniforms <= above + rounding).all())


@TILES
def test_logits_that_are_not_numbers_give_tokens() -> None:
    model = random_model("gpt2").to(torch.bfloat16)
    model.embedding.weight.data[7] = float("nan")
    ids = torch.tensor([7, 8])
    chosen = TiledDecoder(model).draw(ids, torch.zeros_like(ids), attend_to_itself, torch.tensor([0.5, 1.0]), 1.0)
    assert bool(((chosen >= 0) & (chosen < 300)).all())


@TILES
def test_documents_are_the_same_in_any_batch() -> None:
    model = tiled(random_model("llama").to(torch.bfloat16))
    prompts = torch.zeros(70, 1, dtype=torch.int64)
    sampled = [
        sample(model, prompts, Sampling(max_length=20, allow_unended=True), "stream", batch=batch)
        for batch in (70, 33, 1)
    ]
    assert all(np.array_equal(*pair) for other in sampled[1:] for pair in zip(sampled[0], other, strict=True))
    assert len({document.tobytes() for document in sampled[0]}) > 60


def test_models_fit_tiles_in_bfloat16_with_sizes_that_tiles_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "has_amx", lambda: True)
    assert fits_tiles(random_model("gpt2").to(torch.bfloat16))
    assert not fits_tiles(random_model("gpt2"))
    assert not fits_tiles(random_model("gpt2", hidden=48).to(torch.bfloat16))
    assert not fits_tiles(random_model("llama", inner=100).to(torch.bfloat16))
    assert not fits_tiles(random_model("gpt2").to("meta", torch.bfloat16))
    monkeypatch.setattr(amx, "has_amx", lambda: False)
    assert not fits_tiles(random_model("gpt2").to(torch.bfloat16))
