"""The cross-entropy of logits and its gradient in Triton: what `head_loss` launches."""

import triton
import triton.language as tl


@triton.jit
def loss_and_gradient(
    logits,
    targets,
    scales,
    losses,
    vocabulary,
    SCALED: tl.constexpr,
    GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A row's loss, and over its logits their gradient.

    Every lane has a largest logit and a sum of its own, until all have been read: one sum over lanes instead of one per
    block. The second reading finds the row in the processor's cache. A row without a target is not read.
    """
    row = tl.program_id(0)
    start = logits + row.to(tl.int64) * vocabulary
    target = tl.load(targets + row)
    columns = tl.arange(0, BLOCK)
    if target < 0:
        tl.store(losses + row, 0.0)
        if GRADIENT:
            nothing = tl.zeros([BLOCK], logits.dtype.element_ty)
            for begin in range(0, vocabulary, BLOCK):
                tl.store(start + begin + columns, nothing, mask=begin + columns < vocabulary)
    else:
        picked = tl.load(start + target).to(tl.float32)
        scale = 1.0
        if SCALED:
            scale = tl.load(scales + row)
        lane_largest = tl.full([BLOCK], -3.0e38, tl.float32)  # finite: a lane may have no column
        lane_total = tl.zeros([BLOCK], tl.float32)
        for begin in range(0, vocabulary, BLOCK):
            mask = begin + columns < vocabulary
            numbers = tl.load(start + begin + columns, mask=mask, other=float("-inf")).to(tl.float32)
            before, lane_largest = lane_largest, tl.maximum(lane_largest, numbers)
            lane_total = lane_total * tl.exp(before - lane_largest) + tl.exp(numbers - lane_largest)
        largest = tl.max(lane_largest, 0)
        total = tl.sum(lane_total * tl.exp(lane_largest - largest), 0)
        tl.store(losses + row, (largest + tl.log(total) - picked) * scale)
        if GRADIENT:
            factor = scale / total
            for begin in range(0, vocabulary, BLOCK):
                mask = begin + columns < vocabulary
                numbers = tl.load(start + begin + columns, mask=mask, other=float("-inf")).to(tl.float32)
                wanted = tl.where(begin + columns == target, scale, 0.0)
                found = tl.exp(numbers - largest) * factor - wanted
                tl.store(start + begin + columns, found.to(logits.dtype.element_ty), mask=mask)
