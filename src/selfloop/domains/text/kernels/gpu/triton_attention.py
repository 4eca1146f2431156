"""Causal attention for training, forward and backward, in Triton: what `causal_attention` launches.

The algorithm is FlashAttention-2's (Dao 2023): scores exist in registers only, one block of queries times one of keys
at a time, and the backward pass computes them again from the queries' log-sum-exps. It has two kernels, one whose
programs each have a block of queries and one with a block of keys: no two programs add to the same number, so that the
same input gives the same bytes. Exponentials are to base 2, which is the processor's: log-sum-exps, too. Sums are
float32.

All tensors are contiguous: qkv and its gradient are [sequences, length, 3, heads, head_size], the result and its
gradient [sequences, length, heads, head_size], log-sum-exps and `deltas` [sequences, heads, padded], where `padded` is
`length` rounded up to a block of queries of `forward`. Beyond `length`, log-sum-exps are infinite, so that weights
are 0.

With a rotation, contiguous [2, length, head_size] as of `rotation_table`, queries and keys are rotated whenever they
are read, and their gradients rotated back before they are written. A table's two halves are equal but for the sign of
sines: one is read. Without one it is None, and nothing of it is compiled.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _tile(start, rows, length, stride, SIZE: tl.constexpr):
    """Rows of `SIZE` numbers; 0 beyond `length`."""
    columns = tl.arange(0, SIZE)
    return tl.load(start + rows[:, None] * stride + columns[None, :], mask=rows[:, None] < length, other=0.0)


@triton.jit
def _write_tile(start, rows, length, stride, tile, SIZE: tl.constexpr):
    """The reverse of `_tile`, rounded to the dtype of the memory."""
    columns = tl.arange(0, SIZE)
    place = start + rows[:, None] * stride + columns[None, :]
    tl.store(place, tile.to(start.dtype.element_ty), mask=rows[:, None] < length)


@triton.jit
def _cosines_and_sines(rotation, rows, length, SIZE: tl.constexpr):
    """Of positions and half a head, the sines without their sign, float32."""
    cosines = _tile(rotation, rows, length, SIZE, SIZE // 2)
    sines = _tile(rotation + length * SIZE + SIZE // 2, rows, length, SIZE, SIZE // 2)
    return cosines.to(tl.float32), sines.to(tl.float32)


@triton.jit
def _rotated_tile(start, rotation, rows, length, stride, SIZE: tl.constexpr):
    """A `_tile` of queries or keys, rotated by their positions in float32 and rounded."""
    if rotation is None:
        return _tile(start, rows, length, stride, SIZE)
    else:
        cosines, sines = _cosines_and_sines(rotation, rows, length, SIZE)
        low = _tile(start, rows, length, stride, SIZE // 2).to(tl.float32)
        high = _tile(start + SIZE // 2, rows, length, stride, SIZE // 2).to(tl.float32)
        halves = tl.join(low * cosines - high * sines, high * cosines + low * sines)
        return tl.reshape(tl.permute(halves, (0, 2, 1)), (rows.shape[0], SIZE)).to(start.dtype.element_ty)


@triton.jit
def _write_unrotated(start, rotation, rows, length, stride, tile, SIZE: tl.constexpr):
    """`_write_tile` of the gradient of a `_rotated_tile`: of what it was before."""
    if rotation is None:
        _write_tile(start, rows, length, stride, tile, SIZE)
    else:
        cosines, sines = _cosines_and_sines(rotation, rows, length, SIZE)
        low, high = tl.split(tl.permute(tl.reshape(tile, (rows.shape[0], 2, SIZE // 2)), (0, 2, 1)))
        _write_tile(start, rows, length, stride, low * cosines + high * sines, SIZE // 2)
        _write_tile(start + SIZE // 2, rows, length, stride, high * cosines - low * sines, SIZE // 2)


@triton.jit
def _attend(q, k, v, queries, keys, mixed, largest, total, factor, MASKED: tl.constexpr):
    """One block of keys more of a softmax that has seen others: its mean of values, largest score and sum."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee")
    if MASKED:
        scores = tl.where(queries[:, None] >= keys[None, :], scores, float("-inf"))
    before, largest = largest, tl.maximum(largest, tl.max(scores, 1))
    weights = tl.exp2(scores * factor - (largest * factor)[:, None])
    shrunk = tl.exp2((before - largest) * factor)
    mixed = tl.dot(weights.to(v.dtype), v, mixed * shrunk[:, None], input_precision="ieee")
    return mixed, largest, total * shrunk + tl.sum(weights, 1)


@triton.jit(do_not_specialize=["length"])
def forward(
    qkv,
    rotation,
    log_sums,
    out,
    length,
    padded,
    scale,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """The result and the log-sum-exps, to base 2, of a head's block of queries. The longest rows are begun first.

    Every query sees the first key, so that no sum is empty; a block of keys before the first query is in full view.
    """
    sequence, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    stride, factor = 3 * HEADS * SIZE, scale * LOG2_E
    start = qkv + sequence.to(tl.int64) * length * stride + head * SIZE
    first = (tl.num_programs(1) - 1 - tl.program_id(1)) * QUERIES
    queries = first + tl.arange(0, QUERIES)
    q = _rotated_tile(start, rotation, queries, length, stride, SIZE)
    mixed = tl.zeros([QUERIES, SIZE], tl.float32)
    largest = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    for begin in range(0, first, KEYS):
        keys = begin + tl.arange(0, KEYS)
        k = _rotated_tile(start + HEADS * SIZE, rotation, keys, length, stride, SIZE)
        v = _tile(start + 2 * HEADS * SIZE, keys, length, stride, SIZE)
        mixed, largest, total = _attend(q, k, v, queries, keys, mixed, largest, total, factor, False)
    for begin in range(first, tl.minimum(first + QUERIES, length), KEYS):
        keys = begin + tl.arange(0, KEYS)
        k = _rotated_tile(start + HEADS * SIZE, rotation, keys, length, stride, SIZE)
        v = _tile(start + 2 * HEADS * SIZE, keys, length, stride, SIZE)
        mixed, largest, total = _attend(q, k, v, queries, keys, mixed, largest, total, factor, True)
    result = out + (sequence.to(tl.int64) * length * HEADS + head) * SIZE
    _write_tile(result, queries, length, HEADS * SIZE, mixed / total[:, None], SIZE)
    rows = log_sums + tl.program_id(0).to(tl.int64) * padded + queries
    log_sum = tl.where(queries < length, largest * factor + tl.log2(total), float("inf"))
    tl.store(rows, log_sum)


@triton.jit
def _query_gradient(q, k, v, gradient, queries, keys, log_sum, delta, found, factor, MASKED: tl.constexpr):
    """What a block of keys adds to the gradient of queries, before its scale."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee")
    if MASKED:
        scores = tl.where(queries[:, None] >= keys[None, :], scores, float("-inf"))
    weights = tl.exp2(scores * factor - log_sum[:, None])
    error = weights * (tl.dot(gradient, tl.trans(v), input_precision="ieee") - delta[:, None])
    return tl.dot(error.to(k.dtype), k, found, input_precision="ieee")


@triton.jit(do_not_specialize=["length"])
def backward_queries(
    qkv,
    rotation,
    log_sums,
    out,
    gradient,
    deltas,
    qkv_gradient,
    length,
    padded,
    scale,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """The gradient of a head's block of queries, and their `deltas`: the products of result and its gradient."""
    sequence, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    stride, factor = 3 * HEADS * SIZE, scale * LOG2_E
    start = sequence.to(tl.int64) * length * stride + head * SIZE
    result = (sequence.to(tl.int64) * length * HEADS + head) * SIZE
    first = (tl.num_programs(1) - 1 - tl.program_id(1)) * QUERIES
    queries = first + tl.arange(0, QUERIES)
    q = _rotated_tile(qkv + start, rotation, queries, length, stride, SIZE)
    given = _tile(gradient + result, queries, length, HEADS * SIZE, SIZE)
    mixed = _tile(out + result, queries, length, HEADS * SIZE, SIZE)
    delta = tl.sum(given.to(tl.float32) * mixed.to(tl.float32), 1)
    rows = tl.program_id(0).to(tl.int64) * padded + queries
    tl.store(deltas + rows, delta)
    log_sum = tl.load(log_sums + rows)
    found = tl.zeros([QUERIES, SIZE], tl.float32)
    for begin in range(0, first, KEYS):
        keys = begin + tl.arange(0, KEYS)
        k = _rotated_tile(qkv + start + HEADS * SIZE, rotation, keys, length, stride, SIZE)
        v = _tile(qkv + start + 2 * HEADS * SIZE, keys, length, stride, SIZE)
        found = _query_gradient(q, k, v, given, queries, keys, log_sum, delta, found, factor, False)
    for begin in range(first, tl.minimum(first + QUERIES, length), KEYS):
        keys = begin + tl.arange(0, KEYS)
        k = _rotated_tile(qkv + start + HEADS * SIZE, rotation, keys, length, stride, SIZE)
        v = _tile(qkv + start + 2 * HEADS * SIZE, keys, length, stride, SIZE)
        found = _query_gradient(q, k, v, given, queries, keys, log_sum, delta, found, factor, True)
    _write_unrotated(qkv_gradient + start, rotation, queries, length, stride, found * scale, SIZE)


@triton.jit
def _key_gradient(k, v, q, gradient, keys, queries, log_sum, delta, of_k, of_v, factor, MASKED: tl.constexpr):
    """What a block of queries adds to the gradients of keys, before its scale, and of values."""
    scores = tl.dot(k, tl.trans(q), input_precision="ieee")
    if MASKED:
        scores = tl.where(queries[None, :] >= keys[:, None], scores, float("-inf"))
    weights = tl.exp2(scores * factor - log_sum[None, :])
    of_v = tl.dot(weights.to(q.dtype), gradient, of_v, input_precision="ieee")
    error = weights * (tl.dot(v, tl.trans(gradient), input_precision="ieee") - delta[None, :])
    return tl.dot(error.to(q.dtype), q, of_k, input_precision="ieee"), of_v


@triton.jit(do_not_specialize=["length"])
def backward_keys(
    qkv,
    rotation,
    log_sums,
    gradient,
    deltas,
    qkv_gradient,
    length,
    padded,
    scale,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """The gradients of a head's block of keys and values; `deltas` are of `backward_queries`.

    The first keys, which the most queries see, are begun first.
    """
    sequence, head = tl.program_id(0) // HEADS, tl.program_id(0) % HEADS
    stride, factor = 3 * HEADS * SIZE, scale * LOG2_E
    start = sequence.to(tl.int64) * length * stride + head * SIZE
    result = gradient + (sequence.to(tl.int64) * length * HEADS + head) * SIZE
    rows = tl.program_id(0).to(tl.int64) * padded
    first = tl.program_id(1) * KEYS
    keys = first + tl.arange(0, KEYS)
    k = _rotated_tile(qkv + start + HEADS * SIZE, rotation, keys, length, stride, SIZE)
    v = _tile(qkv + start + 2 * HEADS * SIZE, keys, length, stride, SIZE)
    of_k, of_v = tl.zeros([KEYS, SIZE], tl.float32), tl.zeros([KEYS, SIZE], tl.float32)
    for begin in range(first, tl.minimum(first + KEYS, length), QUERIES):
        queries = begin + tl.arange(0, QUERIES)
        q = _rotated_tile(qkv + start, rotation, queries, length, stride, SIZE)
        given = _tile(result, queries, length, HEADS * SIZE, SIZE)
        log_sum, delta = tl.load(log_sums + rows + queries), tl.load(deltas + rows + queries)
        of_k, of_v = _key_gradient(k, v, q, given, keys, queries, log_sum, delta, of_k, of_v, factor, True)
    for begin in range(first + KEYS, length, QUERIES):
        queries = begin + tl.arange(0, QUERIES)
        q = _rotated_tile(qkv + start, rotation, queries, length, stride, SIZE)
        given = _tile(result, queries, length, HEADS * SIZE, SIZE)
        log_sum, delta = tl.load(log_sums + rows + queries), tl.load(deltas + rows + queries)
        of_k, of_v = _key_gradient(k, v, q, given, keys, queries, log_sum, delta, of_k, of_v, factor, False)
    _write_unrotated(qkv_gradient + start + HEADS * SIZE, rotation, keys, length, stride, of_k * scale, SIZE)
    _write_tile(qkv_gradient + start + 2 * HEADS * SIZE, keys, length, stride, of_v, SIZE)
