"""AdamW in Triton: what `optimizer` launches on GPUs."""

import triton
import triton.language as tl


@triton.jit
def adamw(
    weights,
    gradient,
    first,
    second,
    compute,
    norm,
    size,
    matrices,
    learning_rate,
    decay,
    clip,
    beta1,
    beta2,
    correction1,
    correction2,
    epsilon,
    COPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Clip a block of the gradient, update weights and moments, and with `COPY` round the weights to those computed on.

    Each number is read and written once; weights before `matrices` decay. The corrections are 1 - betaᵗ.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = place < size
    factor = tl.minimum(clip / (tl.load(norm) + 1e-6), 1.0)
    slope = tl.load(gradient + place, mask=there, other=0.0).to(tl.float32) * factor
    mean = tl.load(first + place, mask=there, other=0.0)
    square = tl.load(second + place, mask=there, other=0.0)
    weight = tl.load(weights + place, mask=there, other=0.0)
    mean = beta1 * mean + (1.0 - beta1) * slope
    square = beta2 * square + (1.0 - beta2) * slope * slope
    weight -= learning_rate * tl.where(place < matrices, decay, 0.0) * weight
    weight -= learning_rate / correction1 * mean / (tl.sqrt(square) / tl.sqrt(correction2) + epsilon)
    tl.store(first + place, mean, mask=there)
    tl.store(second + place, square, mask=there)
    tl.store(weights + place, weight, mask=there)
    if COPY:
        tl.store(compute + place, weight.to(compute.dtype.element_ty), mask=there)
