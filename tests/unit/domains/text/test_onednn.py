"""Models whose matrices are laid out for the processor give what they gave before."""

import pytest
import torch

from selfloop.domains.text.model.kv_cache import KVCache, cache_memory
from selfloop.domains.text.model.network import Linear, Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling.onednn import PackedLinear, pack

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
    pack(model, 5)
    assert (layers(model, PackedLinear) > 0) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    torch.testing.assert_close(logits(model), expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_models_on_other_devices_stay_as_they_are() -> None:
    model = random_model("gpt2").to("meta")
    pack(model, 5)
    assert layers(model, Linear) == 8
    assert layers(model, PackedLinear) == 0
