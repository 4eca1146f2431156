"""Decoding in Triton: what `decoding` launches."""

import triton
import triton.language as tl

LOWEST = tl.constexpr(-1.0e30)  # a score before there is one


@triton.jit
def attend(
    qkv, memory, position, moves, out, qkv_row, memory_row, beside, heads, width, scale,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    dimension = tl.arange(0, WIDTH)
    there = (dimension < width)[None, :] & (head < heads)[:, None]
    place = head[:, None] * width + dimension[None, :]  # of a number among those of a position [GROUP, WIDTH]
    size = heads * width
    moved = tl.load(moves + row)
    last = tl.load(position + row)
    own = qkv + row * qkv_row + place
    query = tl.load(own, mask=there, other=0.0).to(tl.float32) * scale
    key = tl.load(own + size, mask=there, other=0.0).to(memory.dtype.element_ty)
    value = tl.load(own + 2 * size, mask=there, other=0.0).to(memory.dtype.element_ty)
    cache = memory + row * memory_row
    new = cache + tl.where(moved, last, beside) * 2 * size + place
    tl.store(new, key, mask=there)
    tl.store(new + size, value, mask=there)
    # Softmax as the positions come, by itself for each of those of a block: nothing is summed over positions until the
    # end, for which warps would have to wait for each other.
    highest = tl.full([BLOCK, GROUP], LOWEST, tl.float32)
    total = tl.zeros([BLOCK, GROUP], tl.float32)
    mixed = tl.zeros([BLOCK, GROUP, WIDTH], tl.float32)
    for begin in range(0, tl.where(moved, last, 0), BLOCK):
        position_of = begin + tl.arange(0, BLOCK)
        inside = (position_of < last)[:, None, None] & there[None]
        at = cache + position_of[:, None, None] * 2 * size + place[None]
        keys = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        values = tl.load(at + size, mask=inside, other=0.0).to(tl.float32)
        scores = tl.where((position_of < last)[:, None], tl.sum(query[None] * keys, axis=2), float("-inf"))
        above = tl.maximum(highest, scores)
        shrunk, weight = tl.exp2(highest - above), tl.exp2(scores - above)
        total = total * shrunk + weight
        mixed = mixed * shrunk[:, :, None] + weight[:, :, None] * values
        highest = above
    score = tl.sum(query * key.to(tl.float32), axis=1)
    above = tl.maximum(tl.max(highest, axis=0), score)
    shrunk, weight = tl.exp2(highest - above[None]), tl.exp2(score - above)
    whole = tl.sum(total * shrunk, axis=0) + weight
    result = tl.sum(mixed * shrunk[:, :, None], axis=0) + weight[:, None] * value.to(tl.float32)
    tl.store(out + row * size + place, result / whole[:, None], mask=there)


@triton.jit
def draw(logits, uniforms, chosen, finite, stride, vocabulary, scale, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    own = logits + row.to(tl.int64) * stride
    # The highest logit, the sum of exponentials below it, and whether there is one that is not finite.
    highest = float("-inf")
    total = 0.0
    broken = 0
    for begin in range(0, vocabulary, BLOCK):
        token = begin + tl.arange(0, BLOCK)
        score = tl.load(own + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32) * scale
        broken += tl.sum(tl.where((token < vocabulary) & ~(tl.abs(score) < float("inf")), 1, 0))
        above = tl.maximum(tl.maximum(highest, tl.max(score)), -3.0e38)
        total = total * tl.exp2(highest - above) + tl.sum(tl.exp2(score - above))
        highest = above
    target = tl.load(uniforms + row) * total
    # The first token at which the cumulative sum exceeds the target; by rounding there may be none: then the last that
    # has a probability above 0.
    before = 0.0
    token_found = -1
    possible = 0
    for begin in range(0, vocabulary, BLOCK):
        token = begin + tl.arange(0, BLOCK)
        score = tl.load(own + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32) * scale
        weight = tl.exp2(score - highest)
        sums = before + tl.cumsum(weight)
        here = tl.min(tl.where((sums > target) & (weight > 0.0), token, vocabulary))
        token_found = tl.where((token_found < 0) & (here < vocabulary), here, token_found)
        possible = tl.maximum(possible, tl.max(tl.where(weight > 0.0, token, 0)))
        before += tl.sum(weight)
    token_found = tl.where(token_found < 0, possible, token_found)
    tl.store(chosen + row, tl.where(broken == 0, token_found, 0).to(tl.int64))
    tl.store(finite + row, broken == 0)
