"""Attention of one new position to a KV cache, on CPUs.

Decoding reads the whole cache once per token, so that memory is the limit, if the reading is done well: a head's keys
and values lie side by side in blocks of `LANES` positions, [head_size, LANES] of keys and [LANES, head_size] of
values. Blocks of the same positions are neighbours, so that what is read is dense, however long documents may become.
The scores of a block are a vector, a sum over dimensions; the result is a sum over positions of vectors of dimensions.
bfloat16 is widened in registers, and all arithmetic is in float32. Rows lie in pairs, those of bfloat16 interleaved,
see `Code.read_pair`.
"""

import math
from collections.abc import Callable
from functools import cache

from llvmlite import ir

from selfloop.domains.text.kernels.cpu.code import (
    BYTES,
    CACHE_LINE,
    INDEX,
    LANES,
    Code,
    Kernel,
    Loop,
    Value,
    index,
    vector,
)

COLUMNS = 64  # dimensions summed at once: half of the registers of a processor with AVX2
STREAMS = 4  # heads that are prefetched side by side, at most: see `_Writer.prefetch`
IN_FLIGHT = 512 * 1024  # bytes of them that the L2 cache has to hold, besides what it holds anyway
CHAINS = 4  # sums at once at least, since an addition begins before the last one has ended


def value_size(head_size: int) -> int:
    """Numbers of a value in the cache: a multiple of 8, so that vectors are at least half full."""
    return -(-head_size // 8) * 8


def key_size(head_size: int) -> int:
    """Numbers of a key in the cache: an even one."""
    return head_size + head_size % 2


def block_size(head_size: int) -> int:
    """Numbers of a head's keys and values at `LANES` positions."""
    return LANES * (key_size(head_size) + value_size(head_size))


def scratch_size(head_size: int, positions: int) -> int:
    """Numbers of a kernel's scratch memory: a query, and the scores of all positions."""
    return value_size(head_size) + -(-positions // LANES) * LANES


def streams_of(head_size: int, kv_dtype: str, positions: int) -> int:
    """Streams for heads with this many positions: a power of two, with half as many heads in flight."""
    block = BYTES[kv_dtype] * block_size(head_size)
    most = min(STREAMS, block // CACHE_LINE // 2, 2 * IN_FLIGHT * LANES // (block * positions))
    return 1 << max(0, most.bit_length() - 1)


@cache
def attention(head_size: int, dtype: str, kv_dtype: str, streams: int) -> Callable[..., None]:
    """The kernel for heads of a size, with queries, keys, values and result in `dtype` and the cache in `kv_dtype`.

    It appends the keys and values of a position to the cache, and attends to all positions up to it. How many `streams`
    are prefetched side by side changes no result. Its arguments:

        qkv: address of [sequences, 3, heads, head_size].
        cache: address of the first sequence's first block, [blocks, sequences, heads, block_size(head_size)].
        out: address of the result, [sequences, heads, head_size].
        scratch: address of float32 [scratch_size(head_size, positions)].
        sequences, heads: how many.
        position: the number of positions in the cache before.
        apart: numbers in the cache from one block of a head to the next.
    """
    kernel = Kernel(addresses=4, integers=4)
    code = kernel.code
    qkv, cached, out, scratch, sequences, heads, position, apart = kernel.arguments
    hidden = code.mul(heads, index(head_size))
    full, lane = code.sdiv(position, index(LANES)), code.srem(position, index(LANES))
    scores = code.at(scratch, "float32", value_size(head_size))
    write = _Writer(code, head_size, dtype, kv_dtype, streams, apart, full, lane)
    with code.loop(sequences) as sequence, code.loop(heads) as head:
        start = code.mul(head.index, index(head_size))
        query = code.at(qkv, dtype, code.add(code.mul(sequence.index, code.mul(hidden, index(3))), start))
        key = code.at(query, dtype, hidden)
        number = code.add(code.mul(sequence.index, heads), head.index)
        blocks = code.at(cached, kv_dtype, code.mul(number, index(block_size(head_size))))
        write.append(query, key, code.at(key, dtype, hidden), write.block(blocks, full), scratch)
        total = write.weights(scratch, blocks, scores)
        result = code.at(out, dtype, code.add(code.mul(sequence.index, hidden), start))
        write.mean(scores, total, blocks, result)
    return kernel.compile()


class _Writer:
    """Writes the parts of the kernel for one sequence and head."""

    def __init__(
        self, code: Code, size: int, dtype: str, kv_dtype: str, streams: int, apart: Value, full: Value, lane: Value
    ) -> None:
        self.code = code
        self.size = size
        self.dtype = dtype
        self.kv_dtype = kv_dtype
        self.streams = streams
        self.apart = apart
        self.full, self.lane = full, lane
        self.groups = code.add(code.sdiv(lane, index(self.group)), index(1))  # of the last block's values
        self.end = code.add(code.mul(self.groups, index(self.group * value_size(size))), index(LANES * key_size(size)))
        self.chunk = math.gcd(size, LANES)  # dimensions per iteration
        self.line = CACHE_LINE // BYTES[kv_dtype]  # numbers
        # Lines that each stream prefetches per block, and again per block when values are read.
        self.lines = -(-block_size(size) // (2 * streams * self.line))

    def block(self, blocks: Value, number: Value) -> Value:
        """The address of a head's block; its keys come first."""
        return self.code.at(blocks, self.kv_dtype, self.code.mul(number, self.apart))

    def values(self, block: Value) -> Value:
        """The address of a block's values."""
        return self.code.at(block, self.kv_dtype, LANES * key_size(self.size))

    @property
    def columns(self) -> list[range]:
        """The vectors of a value by their first dimensions: those that are summed at once, and so on."""
        width = value_size(self.size)
        lanes = math.gcd(width, LANES)
        return [range(first, min(first + COLUMNS, width), lanes) for first in range(0, width, COLUMNS)]

    def chains(self, columns: range) -> int:
        """Sums of each of these vectors."""
        return max(1, CHAINS // len(columns))

    @property
    def group(self) -> int:
        """Positions whose values are added at a time: one for each sum, and a pair at least."""
        return max(2, *map(self.chains, self.columns))

    def append(self, query: Value, key: Value, value: Value, block: Value, scratch: Value) -> None:
        """Write the scaled query to the scratch memory, and key and value into a lane of the last block."""
        code, width, lane = self.code, value_size(self.size), self.lane
        values = self.values(block)
        # What follows has the weight 0, but what was in the memory before may be NaN.
        within = code.and_(lane, index(self.group - 1))
        with code.if_then(code.icmp_signed("==", within, index(0))):
            begin = code.at(values, self.kv_dtype, code.mul(lane, index(width)))
            with code.loop(self.group * width // 8) as vectors:
                place = code.at(begin, self.kv_dtype, code.mul(vectors.index, index(8)))
                code.write(place, self.kv_dtype, code.rounded(vector(0.0, 8), self.kv_dtype))
        if self.size % 2:  # the last pair of keys, of which one is not written
            with code.if_then(code.icmp_signed("==", lane, index(0))), code.loop(2) as vectors:
                place = code.at(values, self.kv_dtype, code.mul(code.sub(vectors.index, index(2)), index(LANES)))
                code.write(place, self.kv_dtype, code.rounded(vector(0.0), self.kv_dtype))
        scale = vector(1 / math.sqrt(self.size), self.chunk)
        with code.loop(self.size // self.chunk) as chunks:
            begin = code.mul(chunks.index, index(self.chunk))
            read = [
                code.read(code.at(given, self.dtype, begin), self.dtype, self.chunk) for given in (query, key, value)
            ]
            code.write(code.at(scratch, "float32", begin), "float32", code.fmul(read[0], scale))
            stored_key, stored_value = (code.rounded(vector, self.kv_dtype) for vector in read[1:])
            code.write_to_pair(values, self.kv_dtype, width, lane, begin, stored_value)
            for offset, number in enumerate(code.split(stored_key)):
                dimension = code.add(begin, index(offset))
                code.write(code.in_pair(block, self.kv_dtype, LANES, dimension, lane), self.kv_dtype, number)
        if self.size % 2:
            code.write(code.at(scratch, "float32", self.size), "float32", vector(0.0, 1))

    def weights(self, query: Value, blocks: Value, scores: Value) -> Value:
        """Write the softmax's exponentials of all blocks' scores; returns their sum."""
        code, full = self.code, self.full

        def place(number: Value) -> Value:
            return code.at(scores, "float32", code.mul(number, index(LANES)))

        with code.loop(full, vector(-math.inf)) as loop:
            block = self.block(blocks, loop.index)
            self.prefetch(block, 0)
            score = self.score(query, block)
            code.write(place(loop.index), "float32", score)
            loop.values = [code.largest([score, *loop.values])]
        numbers = ir.Constant(ir.VectorType(INDEX, LANES), [index(number) for number in range(LANES)])
        block = self.block(blocks, full)
        self.prefetch(block, 0, self.end)
        visible = code.icmp_signed("<=", numbers, code.spread(self.lane))
        score = code.select(visible, self.score(query, block), vector(-math.inf))
        code.write(place(full), "float32", score)
        largest = code.spread(code.highest(code.largest([score, *loop.values])))
        with code.loop(code.add(full, index(1)), vector(0.0)) as loop:
            weight = code.exp(code.fsub(code.read(place(loop.index), "float32"), largest))
            code.write(place(loop.index), "float32", weight)
            loop.values = [code.fadd(loop.values[0], weight)]
        return code.total(loop.values[0])

    def prefetch(self, block: Value, half: int, end: Value | None = None) -> None:
        """Prefetch what comes later while a block is read, its keys (half 0) or its values (half 1).

        Of the next head's block with the same positions the last part, of the head after that the part before it, and
        so on, perhaps of later sequences: a core reads memory faster in several places at once, where its own
        prefetching finds several streams. What is in a block from `end` on is not read.
        """
        code, part = self.code, 2 * self.lines * self.line
        for stream in range(self.streams):
            later = code.at(block, self.kv_dtype, (stream + 1) * block_size(self.size))
            for line in range(half * self.lines, (half + 1) * self.lines):
                place = index((self.streams - 1 - stream) * part + line * self.line)
                if end is not None:
                    place = code.select(code.icmp_signed("<", place, end), place, index(0))
                code.prefetch(code.at(later, self.kv_dtype, place))

    def score(self, query: Value, block: Value) -> Value:
        """The scores of a block's positions."""
        code = self.code
        rows = math.gcd(key_size(self.size), LANES)  # per iteration
        with code.loop(key_size(self.size) // rows, vector(0.0), vector(0.0)) as loop:
            for offset in range(0, rows, 2):
                dimension = code.add(code.mul(loop.index, index(rows)), index(offset))
                for half, keys in enumerate(code.read_pair(block, self.kv_dtype, LANES, dimension, 0)):
                    factor = code.spread(code.number(code.at(query, "float32", code.add(dimension, index(half)))))
                    loop.values[half] = code.multiply_add(factor, keys, loop.values[half])
        return code.sum(loop.values)

    def mean(self, weights: Value, total: Value, blocks: Value, result: Value) -> None:
        """Write the mean of the values, weighted by `weights` of this total."""
        code = self.code
        lanes = math.gcd(value_size(self.size), LANES)
        for columns in self.columns:
            first = columns.start == 0
            with code.loop(self.full, *[vector(0.0, lanes)] * (self.chains(columns) * len(columns))) as loop:
                block = self.block(blocks, loop.index)
                if first:
                    self.prefetch(block, 1)
                self.add_values(loop, columns, weights, loop.index, block, index(0), LANES)
            block = self.block(blocks, self.full)
            if first:
                self.prefetch(block, 1, self.end)
            with code.loop(self.groups, *loop.values) as loop:
                begin = code.mul(loop.index, index(self.group))
                self.add_values(loop, columns, weights, self.full, block, begin, self.group)
            for number, column in enumerate(columns):
                mean = code.fdiv(code.sum(loop.values[number :: len(columns)]), code.spread(total, lanes))
                stored = code.rounded(mean, self.dtype)
                if column + lanes <= self.size:
                    code.write(code.at(result, self.dtype, column), self.dtype, stored)
                else:
                    for offset, one in enumerate(code.split(stored)[: self.size - column]):
                        code.write(code.at(result, self.dtype, column + offset), self.dtype, one)

    def add_values(
        self, loop: Loop, columns: range, weights: Value, number: Value, block: Value, begin: Value, positions: int
    ) -> None:
        """Add weighted values to a loop's sums: those of a block's positions from `begin` on, which is even."""
        code, width = self.code, value_size(self.size)
        lanes, chains = math.gcd(width, LANES), self.chains(columns)
        own_weights = code.at(weights, "float32", code.add(code.mul(number, index(LANES)), begin))
        values = code.at(self.values(block), self.kv_dtype, code.mul(begin, index(width)))
        for position in range(0, positions, 2):
            pair_weights = [
                code.spread(code.number(code.at(own_weights, "float32", position + half)), lanes) for half in range(2)
            ]
            for place, column in enumerate(columns):
                pair = code.read_pair(values, self.kv_dtype, width, index(position), column, lanes)
                for half, value in enumerate(pair):
                    chain = (position + half) % chains * len(columns) + place
                    loop.values[chain] = code.multiply_add(pair_weights[half], value, loop.values[chain])
