"""Causal attention of all positions of training sequences, on GPUs, as an operator of PyTorch.

PyTorch's flash attention pads heads of 16 to 32, takes blocks of 128 positions where documents have some 200, and reads
and writes queries, keys and values as three tensors. Here they stay in the one that the projection gave, and are
rotated where they are read.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor


class Blocks(NamedTuple):
    """How a kernel is launched: positions of a block, and Triton's num_warps and num_stages."""

    queries: int
    keys: int
    warps: int
    stages: int


class Plan(NamedTuple):
    """How the three kernels are launched.

    The block that a program has is a multiple of those that it goes through, and no block of queries is larger than the
    one of the kernel before: its rows of sums are written whole.
    """

    forward: Blocks
    backward_queries: Blocks
    backward_keys: Blocks


# By head size, for dtypes of 16 bits. Constants, not the fastest found at run time: that depends on what else runs, and
# sums of other blocks have other last bits.
PLANS = {
    16: Plan(Blocks(32, 32, 2, 2), Blocks(32, 32, 2, 2), Blocks(32, 32, 2, 2)),
    32: Plan(Blocks(64, 64, 4, 3), Blocks(64, 64, 4, 3), Blocks(64, 64, 4, 3)),
    64: Plan(Blocks(64, 64, 4, 2), Blocks(64, 32, 4, 2), Blocks(64, 64, 4, 1)),
    128: Plan(Blocks(64, 64, 4, 2), Blocks(64, 32, 4, 2), Blocks(32, 64, 4, 2)),
}
DTYPES = (torch.bfloat16, torch.float16)  # Triton multiplies matrices of float32 in registers, which do not suffice


def causal_attention(qkv: Tensor, rotation: Tensor | None = None) -> Tensor:
    """Softmax attention of each position to those before and itself, scores divided by √head_size.

    qkv: [sequences, length, 3, heads, head_size], of what `triton_attends` says; gives [sequences, length, heads,
    head_size]. Sums are float32, weights are rounded to the dtype of qkv.
    rotation: [2, length, head_size], the first positions of a `rotation_table`, by which queries and keys are rotated
    first; without a gradient.
    """
    mixed, _ = _forward(qkv, rotation)
    return cast(Tensor, mixed)


@torch.library.custom_op("selfloop::causal_attention", mutates_args=())
def _forward(qkv: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
    """The result, and the queries' log-sum-exps to base 2, float32 [sequences, heads, padded]."""
    qkv = qkv.contiguous()
    out, log_sums = _results(qkv, rotation)
    if qkv.numel():
        launch("forward", PLANS[qkv.shape[-1]].forward, qkv, rotation, log_sums, out)
    return out, log_sums


@_forward.register_fake
def _results(qkv: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor]:
    sequences, length, _, heads, size = qkv.shape
    block = PLANS[int(size)].forward.queries
    out = qkv.new_empty(sequences, length, heads, size)
    return out, qkv.new_empty(sequences, heads, -(-length // block) * block, dtype=torch.float32)


@torch.library.custom_op("selfloop::causal_attention_backward", mutates_args=())
def _backward(gradient: Tensor, qkv: Tensor, rotation: Tensor | None, out: Tensor, log_sums: Tensor) -> Tensor:
    """The gradient of qkv, from that of the result."""
    gradient, qkv = gradient.contiguous(), qkv.contiguous()
    found, deltas = torch.empty_like(qkv), torch.empty_like(log_sums)
    if qkv.numel():
        plan = PLANS[qkv.shape[-1]]
        launch("backward_queries", plan.backward_queries, qkv, rotation, log_sums, out, gradient, deltas, found)
        launch("backward_keys", plan.backward_keys, qkv, rotation, log_sums, gradient, deltas, found)
    return found


@_backward.register_fake
def _(gradient: Tensor, qkv: Tensor, rotation: Tensor | None, out: Tensor, log_sums: Tensor) -> Tensor:
    return qkv.new_empty(qkv.shape)


def _remember(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor | None], output: tuple[Tensor, Tensor]
) -> None:
    ctx.save_for_backward(*inputs, *output)  # type: ignore[arg-type]  # it takes None, too
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor, _: Tensor | None
) -> tuple[Tensor, None]:
    return cast(Tensor, _backward(gradient, *ctx.saved_tensors)), None


_forward.register_autograd(_differentiate, setup_context=_remember)


def launch(name: str, blocks: Blocks, qkv: Tensor, rotation: Tensor | None, log_sums: Tensor, *others: Tensor) -> None:
    """Launch a kernel of `triton_attention`, with one program per head and block: `backward_keys` of keys."""
    from selfloop.domains.text.kernels.gpu import triton_attention  # Triton is not on all machines

    sequences, length, _, heads, size = qkv.shape
    if rotation is not None:
        assert rotation.shape == (2, length, size)
        rotation = rotation.contiguous()
    block = blocks.keys if name == "backward_keys" else blocks.queries
    getattr(triton_attention, name)[sequences * heads, -(-length // block)](
        qkv, rotation, log_sums, *others, length, log_sums.shape[2], 1 / math.sqrt(size), heads, size, blocks.queries,
        blocks.keys, num_warps=blocks.warps, num_stages=blocks.stages,
    )  # fmt: skip
