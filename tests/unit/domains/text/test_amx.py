"""Models are decoded in the processor's tiles as PyTorch decodes them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from selfloop.domains.text.kernels.cpu.amx import has_amx
from selfloop.domains.text.model.kv_cache import KVCache, cache_memory
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import amx
from selfloop.domains.text.sampling.amx import TiledDecoder, fits_tiles

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


def test_models_fit_tiles_in_bfloat16_with_sizes_that_tiles_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "has_amx", lambda: True)
    assert fits_tiles(random_model("gpt2").to(torch.bfloat16))
    assert not fits_tiles(random_model("gpt2"))
    assert not fits_tiles(random_model("gpt2", hidden=48).to(torch.bfloat16))
    assert not fits_tiles(random_model("llama", inner=100).to(torch.bfloat16))
    assert not fits_tiles(random_model("gpt2").to("meta", torch.bfloat16))
    monkeypatch.setattr(amx, "has_amx", lambda: False)
    assert not fits_tiles(random_model("gpt2").to(torch.bfloat16))
