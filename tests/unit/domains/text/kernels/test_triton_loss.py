"""The head's loss by Triton's interpreter, see `test_triton_attention`."""

import pytest
import torch
import torch.nn.functional as F

from selfloop.domains.text.kernels.gpu import head_loss as module
from selfloop.domains.text.kernels.gpu.head_loss import head_loss
from selfloop.domains.text.model import loss as model_loss
from selfloop.domains.text.model.loss import IGNORED, HeadLoss


@pytest.mark.parametrize("vocabulary", [7, 64, 300])  # less than a block, one, and several with a part of one
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_losses_and_gradients_are_those_of_cross_entropy(
    dtype: torch.dtype, tolerance: float, scaled: bool, vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "block_of", lambda vocabulary: (64, 4))
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(9, vocabulary, generator=generator) * 3).to(dtype)
    targets = torch.randint(vocabulary, (9,), generator=generator)
    targets[[2, 8]] = IGNORED
    scales = torch.rand(9, generator=generator) if scaled else None
    leaf = logits.double().requires_grad_()
    expected = F.cross_entropy(leaf, targets, ignore_index=IGNORED, reduction="none") * (
        1 if scales is None else scales
    )
    expected.sum().backward()
    given = logits.clone()
    losses = head_loss(given, targets, scales, gradient=False)
    assert torch.equal(given, logits)
    assert torch.equal(losses, head_loss(given, targets, scales, gradient=True))
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given.double(), leaf.grad, rtol=tolerance, atol=1e-6)
    assert not losses[[2, 8]].any() and not given[[2, 8]].any()


def test_logits_of_minus_infinity_have_no_probability_and_nan_is_not_hidden() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [0.0, torch.nan, 1.0]])
    losses = head_loss(logits, torch.tensor([2, 0]), None, gradient=True)
    assert losses[0] == pytest.approx(torch.tensor([0.0, 1.0]).logsumexp(0).item() - 1)
    assert logits[0, 1] == 0 and losses[1].isnan() and logits[1].isnan().all()


def test_the_head_gives_the_same_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks of 7 rows, with padding and weights."""
    monkeypatch.setitem(model_loss.LOGITS_AT_ONCE, False, 7 * 50)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(rows, 16, generator=generator) for rows in (20, 50))
    targets = torch.randint(50, (20,), generator=generator)
    targets[[3, 19]] = IGNORED
    scales = torch.rand(20, generator=generator)
    found = []
    for own in (False, True):
        monkeypatch.setattr(model_loss, "triton_runs_on", lambda device, own=own: own)
        leaves = [tensor.clone().requires_grad_() for tensor in (hidden, weight)]
        loss = HeadLoss.apply(*leaves, targets, scales, True)
        loss.backward()
        found.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for mine, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)
