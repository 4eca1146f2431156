"""The cross-entropy of logits and its gradient on GPUs, in one launch that reads and writes the logits once."""

import torch
from torch import Tensor


def block_of(vocabulary: int) -> tuple[int, int]:
    """Logits of a row at a time, and how many warps have them: the fastest on an H100."""
    return (2048, 4) if vocabulary <= 16384 else (8192, 16)


def head_loss(logits: Tensor, targets: Tensor, scales: Tensor | None, gradient: bool) -> Tensor:
    """The cross-entropy of each row, float32 [rows], times its scale; with `gradient`, logits become their gradient.

    Args:
        logits: [rows, vocabulary], contiguous, of any floating dtype, on a GPU.
        targets: int64 [rows]; a negative one is none, and its row's loss and gradient are 0.
        scales: float32 [rows]; None for 1.
        gradient: whether it is wanted; otherwise logits stay as they are.
    """
    from selfloop.domains.text.kernels.gpu import triton_loss  # Triton is not on all machines

    assert logits.is_contiguous()
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    if len(logits):
        block, warps = block_of(logits.shape[1])
        triton_loss.loss_and_gradient[(len(logits),)](
            logits, targets.contiguous(), scales if scales is None else scales.contiguous(), losses, logits.shape[1],
            scales is not None, gradient, block, num_warps=warps,
        )  # fmt: skip
    return losses
