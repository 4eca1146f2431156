"""Models whose matrices are laid out for the processor give what they gave before."""

import pytest
import torch

from selfloop.domains.text.model.kv_cache import KVCache, cache_memory
from selfloop.domains.text.model.network import Linear, Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import packing
from selfloop.domains.text.sampling.onednn import PackedLinear, can_pack, pack

ARCHITECTURES = ["gpt2", "llama"]
CPU = torch.device("cpu")


def random_model(architecture: str) -> Transformer:
    """Every weight random and large enough to matter, biases and norms too."""
    model = Transformer(Shape(architecture, 32, 2, 4, 48, 24, 300))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


def logits(model: Transformer, sequences: int = 5) -> torch.Tensor:
    """After six steps."""
    ids = torch.randint(300, (sequences, 6), generator=torch.Generator().manual_seed(2))
    dtype = next(model.parameters()).dtype
    cache = KVCache(cache_memory(model.shape, sequences, 24, dtype, CPU), 0, sequences)
    with torch.inference_mode():
        return torch.stack([model.step(column, [cache]) for column in ids.T]).float()


def layers(model: Transformer, kind: type[torch.nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in model.blocks.modules())


@pytest.mark.parametrize("rows", [1, 5, 256])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_packed_models_steps_give_the_same_logits(architecture: str, rows: int) -> None:
    """Whatever number of rows it was packed for."""
    model = random_model(architecture)
    expected = logits(model)
    pack(model, rows)
    assert layers(model, PackedLinear) == 8
    assert layers(model, Linear) == 0
    assert isinstance(model.head, PackedLinear)
    torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_is_packed_where_the_processor_can_multiply_it(architecture: str) -> None:
    model = random_model(architecture).to(torch.bfloat16)
    expected = logits(model)
    packed = can_pack(model.embedding.weight)
    assert packed == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if packed:
        pack(model, 5)
    torch.testing.assert_close(logits(model), expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_what_multiplies_follows_from_the_device_the_dtype_and_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("gpt2").to("meta")
    assert packing.pack(model, 5) == "torch"
    assert layers(model, Linear) == 8
    assert packing.pack(random_model("gpt2"), 5) == "oneDNN"
    monkeypatch.setattr(packing, "fits_tiles", lambda model: False)
    model = random_model("gpt2").to(torch.bfloat16)
    assert packing.pack(model, 5) == ("oneDNN" if can_pack(model.embedding.weight) else "torch")
    monkeypatch.setattr(packing, "fits_tiles", lambda model: True)
    monkeypatch.setattr(packing, "TiledDecoder", lambda model, tokens: tokens)  # one needs a processor with tiles
    model = random_model("gpt2").to(torch.bfloat16)
    assert packing.pack(model, 5, tokens=290) == "AMX tiles"
    assert model.decode == 290
