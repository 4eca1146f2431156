"""Softmax and inverse transform at once, on CPUs: the next token of each row without writing its probabilities."""

import math
from collections.abc import Callable
from functools import cache

import torch
from llvmlite import ir
from torch import Tensor

from selfloop.domains.text.kernels.cpu.code import (
    BITS,
    BYTES,
    CACHE_LINE,
    FLOAT,
    INDEX,
    LANES,
    SHORT,
    Code,
    Kernel,
    Value,
    index,
    vector,
)

GROUP = 4 * LANES  # tokens per group of the two-level inversion


def draw(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Sample a token of each row by inverse transform at one uniform number per row.

    Args:
        logits: [rows, vocabulary], float32 or bfloat16; rows may be apart.
        uniforms: float32 [rows], in [0, 1].
        temperature: above 0.

    Returns:
        int64 [rows].
    """
    if logits.stride(1) != 1:
        logits = logits.contiguous()
    rows, vocabulary = logits.shape
    chosen = torch.empty(rows, dtype=torch.int64)
    scratch = torch.full((scratch_size(vocabulary),), math.inf)
    scratch[:GROUP] = -math.inf
    heat = torch.tensor([temperature], dtype=torch.float32)
    kernel = choice(vocabulary, str(logits.dtype).removeprefix("torch."), temperature != 1)
    uniforms = uniforms.contiguous()
    addresses = (given.data_ptr() for given in (logits, uniforms, heat, chosen, scratch))
    kernel(*addresses, rows, logits.stride(0))
    return chosen


def scratch_size(vocabulary: int) -> int:
    """Numbers of the kernel's scratch memory: the last group, another one, and a sum per group, in whole vectors."""
    return 2 * GROUP + -(-vocabulary // (GROUP * LANES)) * LANES


@cache
def choice(vocabulary: int, dtype: str, heated: bool) -> Callable[..., None]:
    """The kernel for logits of a dtype; `heated` unless the temperature is 1. Its arguments:

    logits: address of [rows, vocabulary].
    uniforms: address of float32 [rows].
    temperature: address of a float32.
    chosen: address of int64 [rows], the result.
    scratch: address of float32 [scratch_size(vocabulary)]: -inf in the last group, else inf.
    rows: how many.
    stride: numbers from one row of logits to the next.
    """
    kernel = Kernel(addresses=5, integers=2)
    code = kernel.code
    logits, uniforms, temperature, chosen, scratch, rows, stride = kernel.arguments
    full, rest = divmod(vocabulary, GROUP)
    groups = -(-vocabulary // GROUP)
    heat = code.spread(code.number(temperature))
    weights = code.at(scratch, "float32", GROUP)
    sums = code.at(scratch, "float32", 2 * GROUP)

    def read(group: Value, own: str, lane: int) -> Value:
        return code.read(code.at(group, own, lane), own)

    def of_group(group: Value, own: str, largest: Value) -> list[Value]:
        """Exponentials of a group's logits."""
        found = [code.fsub(read(group, own, lane), largest) for lane in range(0, GROUP, LANES)]
        return [code.exp(code.fdiv(each, heat) if heated else each) for each in found]

    with code.loop(rows) as row:
        own = code.at(logits, dtype, code.mul(row.index, stride))
        with code.loop(full, vector(-math.inf)) as loop:
            group = code.at(own, dtype, code.mul(loop.index, index(GROUP)))
            found = [read(group, dtype, lane) for lane in range(0, GROUP, LANES)]
            loop.values = [code.largest([*found, *loop.values])]
        most = loop.values[0]
        if rest:  # as many as fit into float32 vectors of their own; the others stay -inf
            with code.loop(rest) as loop:
                number = code.read(code.at(own, dtype, code.add(loop.index, index(full * GROUP))), dtype, 1)
                code.write(code.at(scratch, "float32", loop.index), "float32", number)
            most = code.largest([most, *(read(scratch, "float32", lane) for lane in range(0, GROUP, LANES))])
        largest = code.spread(code.highest(most))
        with code.loop(full, ir.Constant(FLOAT, 0.0)) as loop:
            group = code.at(own, dtype, code.mul(loop.index, index(GROUP)))
            for number in range(0, GROUP, CACHE_LINE // BYTES[dtype]):  # exponentials take longer than reading
                code.prefetch(code.at(code.at(group, dtype, stride), dtype, number))
            found = of_group(group, dtype, largest)
            loop.values = [code.fadd(loop.values[0], code.total(code.sum(found)))]
            code.store(loop.values[0], code.at(sums, "float32", loop.index))
        total = loop.values[0]
        if rest:
            total = code.fadd(total, code.total(code.sum(of_group(scratch, "float32", largest))))
            code.store(total, code.at(sums, "float32", full))
        uniform = code.number(code.at(uniforms, "float32", row.index))
        group, left = invert(code, sums, groups, total, code.fmul(uniform, total))
        with code.if_else(code.icmp_signed("<", group, index(full))) as (whole, last):
            with whole:
                found = of_group(code.at(own, dtype, code.mul(group, index(GROUP))), dtype, largest)
                for number, each in enumerate(found):
                    code.write(code.at(weights, "float32", number * LANES), "float32", each)
            with last:
                for number, each in enumerate(of_group(scratch, "float32", largest)):
                    code.write(code.at(weights, "float32", number * LANES), "float32", each)
        token, _ = invert(code, weights, GROUP, accumulate(code, weights, GROUP), left)
        token = code.add(code.mul(group, index(GROUP)), token)
        code.store(token, code.gep(chosen, [row.index], source_etype=token.type))
    return kernel.compile()


def accumulate(code: Code, weights: Value, count: int) -> Value:
    """Replace weights in memory by their cumulative sums; returns the last one."""
    with code.loop(count, ir.Constant(FLOAT, 0.0)) as loop:
        place = code.at(weights, "float32", loop.index)
        loop.values = [code.fadd(loop.values[0], code.number(place))]
        code.store(loop.values[0], place)
    return loop.values[0]


def below(code: Code, targets: Value, totals: Value) -> Value:
    """Numbers or vectors that are at most the largest ones below positive totals."""
    bits = BITS if totals.type == FLOAT else ir.VectorType(BITS, totals.type.count)
    one = ir.Constant(bits, 1 if totals.type == FLOAT else [1] * totals.type.count)
    most = code.bitcast(code.sub(code.bitcast(totals, bits), one), totals.type)
    return code.select(code.fcmp_ordered("<", targets, most), targets, most)


def invert(code: Code, sums: Value, count: int, total: Value, target: Value) -> tuple[Value, Value]:
    """Index at which cumulative sums first exceed a target, and the remainder of the target there.

    The target is at most the largest number below the total, so that the weight at the index is not zero. Infinity
    follows the sums to a multiple of `LANES`.
    """
    target = below(code, target, total)
    with code.loop(-(-count // LANES), vector(0.0), index(0)) as loop:
        before, found = loop.values
        seen = code.read(code.at(sums, "float32", code.mul(loop.index, index(LANES))), "float32")
        passed = code.fcmp_ordered("<=", seen, code.spread(target))
        loop.values = [
            code.largest([before, code.select(passed, seen, vector(0.0))]),
            code.add(found, code.zext(code.ctpop(code.bitcast(passed, SHORT)), INDEX)),
        ]
    before, found = loop.values
    return found, code.fsub(target, code.highest(before))
