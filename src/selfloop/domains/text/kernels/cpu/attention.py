"""Attention of one new position to a KV cache, on CPUs.

Decoding reads the whole cache once per token, so that memory is the limit, if the reading is done well: a head's keys
and values lie side by side in blocks of `LANES` positions, [head_size, LANES] of keys and [LANES, head_size] of
values. The scores of a block are a vector, a sum over dimensions; the result is a sum over positions of vectors of
dimensions. bfloat16 is widened in registers, and all arithmetic is in float32. Rows lie in pairs, those of bfloat16
interleaved, see `Code.read_pair`.
"""

import math
from collections.abc import Callable
from functools import cache

from llvmlite import ir

from selfloop.domains.text.kernels.cpu.code import BYTES, CACHE_LINE, INDEX, LANES, Code, Kernel, Value, index, vector

COLUMNS = 64  # dimensions summed at once: half of the registers of a processor with AVX2
STREAMS = 16  # heads that are prefetched side by side, at most: see `_Writer.prefetch`
IN_FLIGHT = 256 * 1024  # bytes of them that the L2 cache has to hold, besides what it holds anyway
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
    return 1 << max(1, most.bit_length() - 1)


@cache
def attention(head_size: int, dtype: str, kv_dtype: str, streams: int) -> Callable[..., None]:
    """The kernel for heads of a size, with queries, keys, values and result in `dtype` and the cache in `kv_dtype`.

    It appends the keys and values of a position to the cache, and attends to all positions up to it. How many `streams`
    are prefetched side by side changes no result. Its arguments:

        qkv: address of [sequences, 3, heads, head_size].
        cache: address of the first sequence's blocks, [heads, blocks, block_size(head_size)].
        out: address of the result, [sequences, heads, head_size].
        scratch: address of float32 [scratch_size(head_size, positions)].
        sequences, heads: how many.
        position: the number of positions in the cache before.
        per_sequence, per_head: numbers from one to the next in the cache.
    """
    kernel = Kernel(addresses=4, integers=5)
    code = kernel.code
    qkv, cached, out, scratch, sequences, heads, position, per_sequence, per_head = kernel.arguments
    hidden = code.mul(heads, index(head_size))
    full, lane = code.sdiv(position, index(LANES)), code.srem(position, index(LANES))
    scores = code.at(scratch, "float32", value_size(head_size))
    write = _Writer(code, head_size, dtype, kv_dtype, streams, per_head, code.add(full, index(1)))
    with code.loop(sequences) as sequence, code.loop(heads) as head:
        start = code.mul(head.index, index(head_size))
        query = code.at(qkv, dtype, code.add(code.mul(sequence.index, code.mul(hidden, index(3))), start))
        key = code.at(query, dtype, hidden)
        blocks = code.at(
            cached, kv_dtype, code.add(code.mul(sequence.index, per_sequence), code.mul(head.index, per_head))
        )
        write.append(query, key, code.at(key, dtype, hidden), write.block(blocks, full), lane, scratch)
        total = write.weights(scratch, blocks, full, lane, scores)
        result = code.at(out, dtype, code.add(code.mul(sequence.index, hidden), start))
        write.mean(scores, total, blocks, result)
    return kernel.compile()


class _Writer:
    """Writes the parts of the kernel for one sequence and head."""

    def __init__(
        self, code: Code, size: int, dtype: str, kv_dtype: str, streams: int, per_head: Value, count: Value
    ) -> None:
        self.code = code
        self.size = size
        self.dtype = dtype
        self.kv_dtype = kv_dtype
        self.streams = streams
        self.count = count  # blocks of each head
        self.chunk = math.gcd(size, LANES)  # dimensions per iteration
        self.line = CACHE_LINE // BYTES[kv_dtype]  # numbers
        # Lines that each stream prefetches per block, and again per block when values are read.
        self.lines = -(-block_size(size) // (2 * streams * self.line))
        of_head = code.mul(count, index(2 * self.lines * self.line))  # a stream's part
        self.apart = code.sub(per_head, of_head)
        self.ahead = code.add(per_head, code.mul(of_head, index(streams - 1)))

    def block(self, blocks: Value, number: Value) -> Value:
        """The address of a block; its keys come first."""
        return self.code.at(blocks, self.kv_dtype, self.code.mul(number, index(block_size(self.size))))

    def values(self, block: Value) -> Value:
        """The address of a block's values."""
        return self.code.at(block, self.kv_dtype, LANES * key_size(self.size))

    def append(self, query: Value, key: Value, value: Value, block: Value, lane: Value, scratch: Value) -> None:
        """Write the scaled query to the scratch memory, and key and value into a lane of the last block."""
        code, width = self.code, value_size(self.size)
        values = self.values(block)
        # What follows has the weight 0, but what was in the memory before may be NaN.
        with code.if_then(code.icmp_signed("==", lane, index(0))):
            keys = 2 * (self.size % 2)  # rows: the last pair, if one of it is not written
            begin = code.at(values, self.kv_dtype, -keys * LANES)
            with code.loop(keys + width) as vectors:
                place = code.at(begin, self.kv_dtype, code.mul(vectors.index, index(LANES)))
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

    def weights(self, query: Value, blocks: Value, full: Value, lane: Value, scores: Value) -> Value:
        """Write the softmax's exponentials of all blocks' scores; returns their sum."""
        code = self.code

        def place(number: Value) -> Value:
            return code.at(scores, "float32", code.mul(number, index(LANES)))

        with code.loop(full, vector(-math.inf)) as loop:
            self.prefetch(blocks, loop.index)
            score = self.score(query, self.block(blocks, loop.index))
            code.write(place(loop.index), "float32", score)
            loop.values = [code.largest([score, *loop.values])]
        numbers = ir.Constant(ir.VectorType(INDEX, LANES), [index(number) for number in range(LANES)])
        self.prefetch(blocks, full)
        visible = code.icmp_signed("<=", numbers, code.spread(lane))
        score = code.select(visible, self.score(query, self.block(blocks, full)), vector(-math.inf))
        code.write(place(full), "float32", score)
        largest = code.spread(code.largest(code.split(code.largest([score, *loop.values]))))
        with code.loop(self.count, vector(0.0)) as loop:
            weight = code.exp(code.fsub(code.read(place(loop.index), "float32"), largest))
            code.write(place(loop.index), "float32", weight)
            loop.values = [code.fadd(loop.values[0], weight)]
        return code.sum(code.split(loop.values[0]))

    def prefetch(self, blocks: Value, number: Value) -> None:
        """Prefetch what comes later, while the block of a number is read; numbers from `count` on are values.

        The next head's last part, the part before it of the head after that, and so on, perhaps of later sequences: a
        core reads memory faster in several places at once, where its own prefetching finds several streams.
        """
        code = self.code
        place = code.at(blocks, self.kv_dtype, code.add(self.ahead, code.mul(number, index(self.lines * self.line))))
        for _ in range(self.streams):
            for line in range(self.lines):
                code.prefetch(code.at(place, self.kv_dtype, line * self.line))
            place = code.at(place, self.kv_dtype, self.apart)

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
        code, width = self.code, value_size(self.size)
        lanes = math.gcd(width, LANES)
        for first in range(0, width, COLUMNS):
            columns = range(first, min(first + COLUMNS, width), lanes)
            chains = max(1, CHAINS // len(columns))
            with code.loop(self.count, *[vector(0.0, lanes)] * (chains * len(columns))) as loop:
                values = self.values(self.block(blocks, loop.index))
                if first == 0:
                    self.prefetch(blocks, code.add(self.count, loop.index))
                own_weights = code.at(weights, "float32", code.mul(loop.index, index(LANES)))
                for position in range(0, LANES, 2):
                    pair_weights = [
                        code.spread(code.number(code.at(own_weights, "float32", position + half)), lanes)
                        for half in range(2)
                    ]
                    for place, column in enumerate(columns):
                        pair = code.read_pair(values, self.kv_dtype, width, index(position), column, lanes)
                        for half, value in enumerate(pair):
                            number = (position + half) % chains * len(columns) + place
                            loop.values[number] = code.multiply_add(pair_weights[half], value, loop.values[number])
            for number, column in enumerate(columns):
                mean = code.fdiv(code.sum(loop.values[number :: len(columns)]), code.spread(total, lanes))
                stored = code.rounded(mean, self.dtype)
                if column + lanes <= self.size:
                    code.write(code.at(result, self.dtype, column), self.dtype, stored)
                else:
                    for offset, one in enumerate(code.split(stored)[: self.size - column]):
                        code.write(code.at(result, self.dtype, column + offset), self.dtype, one)
