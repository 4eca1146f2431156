"""All of a decoding step between one layer's attention and the next, at once, in bfloat16 with AMX.

What is between two matrix products costs as much as they do when each operation reads and writes memory for itself.
Here activations stay in a core's L2 cache, and the weights of what follows are prefetched during each product. A row's
result does not depend on the others.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from llvmlite import ir

from selfloop.domains.text.kernels.cpu.amx import COLUMNS, PANEL, Tiles
from selfloop.domains.text.kernels.cpu.code import FLOAT, LANES, LOG2_E, POINTER, Code, Kernel, Value, index, vector

EPSILON = 1e-5  # of norms
CUBIC = 0.044715  # of GELU's approximation by tanh
CHAINS = 4  # sums at once


@cache
def between(hidden: int, inner: int, architecture: str) -> Callable[..., None]:
    """The kernel from attention to the product after the next norm: to queries, keys and values, or to logits.

    Args:
        hidden, inner: the model's sizes, multiples of `amx.DEPTH`.
        architecture: "gpt2" or "llama".

    Its arguments, of which those of activations are addresses of bfloat16 [PANEL * panels, ...]:

        x: the residual stream [hidden], which is updated.
        mixed: what attention gave [hidden].
        normed, fed: for the kernel's own use, [hidden] and [inner].
        out: the result [outputs].
        weights: address of the matrices, in the order of their use, each in `amx.Tiles.product`'s layout; those of gate
            and up projection alternate by 16 columns.
        vectors: address of float32 norms and biases, in the order of their use, 0 where the architecture has none.
        panels: how many.
        outputs: of the last product, a multiple of `amx.COLUMNS`; 0 to end with the norm.
        attended: 1, or 0 where a step begins and nothing has been attended to: then the kernel is norm and product.
    """
    kernel = Kernel(addresses=7, integers=3)
    code = kernel.code
    x, mixed, normed, fed, out, weights, vectors, panels, outputs, attended = kernel.arguments
    write = _Writer(code, weights, vectors, panels)
    gated = architecture == "llama"
    with write.optional(code.icmp_signed("!=", attended, index(0))):
        write.product(mixed, hidden, x, hidden, residual=x)
        write.norm(x, hidden, normed, centered=not gated)
        if gated:
            write.gated(normed, hidden, fed, inner)
        else:
            write.product(normed, hidden, fed, inner, activation=write.gelu)
        write.product(fed, inner, x, hidden, residual=x)
    write.norm(x, hidden, normed, centered=not gated)
    write.product(normed, hidden, out, outputs)
    write.tiles.release()
    return kernel.compile()


class _Writer:
    """Writes one operation after another; each takes its parameters from where the last one's end."""

    def __init__(self, code: Code, weights: Value, vectors: Value, panels: Value) -> None:
        self.code = code
        self.weights, self.vectors, self.panels = weights, vectors, panels
        self.tiles = Tiles(code)

    @contextmanager
    def optional(self, condition: Value) -> Iterator[None]:
        """Operations that are left out unless a condition is true: then what follows them has the first parameters."""
        code = self.code
        skipped = code.block, self.weights, self.vectors
        with code.if_then(condition):
            yield
            written = code.block, self.weights, self.vectors
        merged = []
        for kind in (1, 2):
            merged.append(code.phi(POINTER))
            for origin in (skipped, written):
                merged[-1].add_incoming(origin[kind], origin[0])
        self.weights, self.vectors = merged

    def product(
        self,
        source: Value,
        depth: int,
        target: Value,
        columns: Value | int,
        activation: Callable[[Value], Value] = lambda value: value,
        residual: Value | None = None,
    ) -> None:
        """A linear layer, followed by an activation or added to a residual stream."""
        code, bias = self.code, self._vector(columns)
        width = index(columns) if isinstance(columns, int) else columns

        def finish(row: Value, column: Value, sums: Sequence[Value]) -> None:
            for half, value in enumerate(sums):
                first = code.add(column, index(half * LANES))
                place = code.add(code.mul(row, width), first)
                if half == 0:  # of the row's next columns
                    code.prefetch(code.at(target, "bfloat16", code.add(place, index(COLUMNS))), written=True)
                value = activation(code.fadd(value, code.read(code.at(bias, "float32", first), "float32")))
                if residual is not None:
                    value = code.fadd(value, code.read(code.at(residual, "bfloat16", place), "bfloat16"))
                self.tiles.write(code.at(target, "bfloat16", place), value)

        also = [] if residual is None else [(residual, int(columns))]
        self.tiles.product(source, depth, self._matrix(depth, columns), columns, self.panels, finish, also)

    def gated(self, source: Value, depth: int, target: Value, columns: int) -> None:
        """Gate and up projection, and SwiGLU."""
        code = self.code

        def finish(row: Value, column: Value, sums: Sequence[Value]) -> None:
            gate, up = sums
            value = code.fmul(self._logistic(gate, code.fmul(gate, vector(-LOG2_E))), up)
            place = code.add(code.mul(row, index(columns)), code.udiv(column, index(2)))
            self.tiles.write(code.at(target, "bfloat16", place), value)

        self.tiles.product(source, depth, self._matrix(depth, 2 * columns), 2 * columns, self.panels, finish)

    def norm(self, source: Value, width: int, target: Value, centered: bool) -> None:
        """LayerNorm, or RMSNorm, which subtracts no mean and adds no bias."""
        code = self.code
        scale, bias = self._vector(width), self._vector(width)
        step = math.gcd(width, CHAINS * LANES)
        zeros = [vector(0.0)] * (step // LANES)
        with code.loop(code.mul(self.panels, index(PANEL))) as row:
            place = code.mul(row.index, index(width))
            read_from, write_to = code.at(source, "bfloat16", place), code.at(target, "bfloat16", place)
            mean = vector(0.0)
            if centered:
                with code.loop(width // step, *zeros) as loop:
                    read = self._several(read_from, loop.index, step)
                    loop.values = [code.fadd(*pair) for pair in zip(loop.values, read, strict=True)]
                mean = code.fmul(code.spread(code.total(code.sum(loop.values))), vector(1 / width))
            with code.loop(width // step, *zeros) as loop:
                read = [code.fsub(value, mean) for value in self._several(read_from, loop.index, step)]
                loop.values = [
                    code.multiply_add(value, value, squares) for value, squares in zip(read, loop.values, strict=True)
                ]
            variance = code.fmul(code.total(code.sum(loop.values)), _number(1 / width))
            deviation = code.square_root(code.fadd(variance, _number(EPSILON)))
            inverse = code.spread(code.fdiv(_number(1.0), deviation))
            with code.loop(width // step) as loop:
                for number, value in enumerate(self._several(read_from, loop.index, step)):
                    column = code.add(code.mul(loop.index, index(step)), index(number * LANES))
                    value = code.fmul(code.fsub(value, mean), inverse)
                    own_scale, own_bias = (
                        code.read(code.at(given, "float32", column), "float32") for given in (scale, bias)
                    )
                    self.tiles.write(
                        code.at(write_to, "bfloat16", column), code.multiply_add(value, own_scale, own_bias)
                    )

    def gelu(self, value: Value) -> Value:
        """GELU's approximation by tanh: (1 + tanh u) / 2 is the logistic function of 2 u."""
        code, scale = self.code, -2 * math.sqrt(2 / math.pi) * LOG2_E
        square = code.fmul(value, value)
        power = code.fmul(code.multiply_add(square, vector(scale * CUBIC), vector(scale)), value)
        return self._logistic(value, power)

    def _logistic(self, value: Value, power: Value) -> Value:
        """value / (1 + 2^power)."""
        return self.code.fmul(value, self.tiles.logistic(power))

    def _several(self, row: Value, number: Value, step: int) -> list[Value]:
        """Vectors of a row's numbers, `step` of them."""
        code = self.code
        begin = code.at(row, "bfloat16", code.mul(number, index(step)))
        return [code.read(code.at(begin, "bfloat16", offset), "bfloat16") for offset in range(0, step, LANES)]

    def _matrix(self, depth: int, columns: Value | int) -> Value:
        own = self.weights
        size = depth * columns if isinstance(columns, int) else self.code.mul(columns, index(depth))
        self.weights = self.code.at(own, "bfloat16", size)
        return own

    def _vector(self, width: Value | int) -> Value:
        own = self.vectors
        self.vectors = self.code.at(own, "float32", width)
        return own


def _number(number: float) -> Value:
    return ir.Constant(FLOAT, number)
