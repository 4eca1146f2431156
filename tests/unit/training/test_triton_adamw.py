"""The optimizer's kernel by Triton's interpreter, which computes with NumPy what a GPU would."""

import pytest
import torch
from torch import nn

from selfloop.training import optimizer as module
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.optimizer import FlatWeights, Optimizer

CONFIG = OptimizerConfig(1e-2, 0.1, 0.9, 0.95, 1.0, 1, "auto")


def trained(
    own: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, steps: range, state: object = None
) -> tuple:
    """The optimizer's state and the weights computed on after some steps, whose gradients never differ."""
    monkeypatch.setattr(module, "triton_runs_on", lambda device: own)
    model = nn.Sequential(nn.Linear(30, 50), nn.Linear(50, 7))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    weights = FlatWeights(model, dtype)
    optimizer = Optimizer(weights, CONFIG)
    if state is not None:
        optimizer.load(state)
    for step in steps:
        generator.manual_seed(step)
        size = 0.001 if step == 3 else 1.0  # below the norm that is clipped
        weights.gradient.copy_(size * torch.randn(len(weights.master), generator=generator))
        optimizer.step(CONFIG.learning_rate)
    return {name: tensor.clone() for name, tensor in optimizer.tensors().items()}, weights.compute.clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_its_steps_are_those_of_torch(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    (expected, wanted), (found, computed) = (trained(own, dtype, monkeypatch, range(6)) for own in (False, True))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7)
    assert torch.equal(computed, found["master"].to(dtype))
    torch.testing.assert_close(computed, wanted, rtol=2e-3, atol=1e-4)


def test_steps_go_on_from_a_saved_state(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = trained(True, torch.float32, monkeypatch, range(6))
    half, _ = trained(True, torch.float32, monkeypatch, range(3))
    rest, _ = trained(True, torch.float32, monkeypatch, range(3, 6), half)
    assert all(torch.equal(whole[name], rest[name]) for name in whole)
