"""Kernels with AMX compute what PyTorch computes."""

import pytest
import torch
import torch.nn.functional as F

from selfloop.domains.text.kernels.cpu.amx import PANEL, Tiles, has_amx
from selfloop.domains.text.kernels.cpu.code import LANES, Kernel
from selfloop.domains.text.kernels.cpu.layer import between
from selfloop.domains.text.sampling.amx import tiles_of

pytestmark = pytest.mark.skipif(not has_amx(), reason="the processor has no AMX")


def test_the_logistic_function_is_as_precise_as_bfloat16_needs_and_has_no_bounds() -> None:
    kernel = Kernel(addresses=1, integers=0)
    (place,) = kernel.arguments
    tiles = Tiles(kernel.code)
    kernel.code.write(place, "float32", tiles.logistic(kernel.code.read(place, "float32")))
    tiles.release()
    run = kernel.compile()
    powers = torch.cat([torch.linspace(-130, 100, 4080), torch.linspace(-1e30, 1e30, LANES)]).reshape(-1, LANES)
    found = powers.clone()
    for row in found:
        run(row.data_ptr())
    expected = 1 / (1 + 2.0 ** powers.double())
    torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=1e-30)


@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize(("hidden", "outputs"), [(32, 32), (96, 128), (256, 800), (1056, 64)])
def test_norm_and_product_are_pytorchs(hidden: int, outputs: int, panels: int) -> None:
    """With depths of one tile, of more than a panel has lines, and of numbers that do not divide them."""
    generator = torch.Generator().manual_seed(hidden)
    rows = PANEL * panels
    x = torch.randn(rows, hidden, generator=generator).bfloat16()
    weight = (torch.randn(outputs, hidden, generator=generator) / hidden**0.5).bfloat16()
    scale, shift, bias = (torch.randn(size, generator=generator) for size in (hidden, hidden, outputs))
    packed, vectors = tiles_of(weight), torch.cat([scale, shift, bias])
    normed, found = torch.empty_like(x), torch.empty(rows, outputs, dtype=torch.bfloat16)
    kernel = between(hidden, hidden, "gpt2")
    used = (x, x, normed, normed, found, packed, vectors)
    kernel(*(given.data_ptr() for given in used), panels, outputs, 0)
    exact = F.layer_norm(x.double(), (hidden,), scale.double(), shift.double())
    torch.testing.assert_close(normed.double(), exact, rtol=1 / 256, atol=1e-5)
    expected = normed.double() @ weight.double().T + bias.double()
    torch.testing.assert_close(found.double(), expected, rtol=1 / 256, atol=1e-5)
