"""The last product of a decoding step and the choice of tokens at once, with AMX: no logits are written.

They would be more than a core's L2 cache holds, to be written once and read twice. While tiles are multiplied, the
largest logit of each block of `COLUMNS` tokens is kept, and the sum of exponentials in relation to it. A block is
chosen by these, and its logits, which have the same bits, are computed again for the token.
"""

from collections.abc import Callable, Sequence
from functools import cache

from llvmlite import ir

from selfloop.domains.text.kernels.cpu.amx import COLUMNS, PANEL, Tiles
from selfloop.domains.text.kernels.cpu.choice import accumulate, below, invert
from selfloop.domains.text.kernels.cpu.code import FLOAT, INDEX, LANES, LOG2_E, Code, Kernel, Value, index, vector

LOWEST = -1e30  # in place of -inf, of which a difference is NaN


def scratch_size(columns: int, rows: int) -> int:
    """Numbers of the kernel's scratch memory for multiples of COLUMNS and PANEL."""
    return 2 * rows * (columns // COLUMNS)


@cache
def drawn(hidden: int) -> Callable[..., None]:
    """The kernel for a hidden size. Its arguments:

    normed: address of bfloat16 [PANEL * panels, hidden].
    weights: address of the head's, as `Tiles.product` reads them.
    bias: address of float32 [columns]: 0, or -inf for tokens that are never chosen.
    uniforms: address of float32 [PANEL * panels], in [0, 1].
    temperature: address of a float32, above 0.
    chosen: address of int64 [PANEL * panels], the result.
    scratch: address of float32 [scratch_size].
    panels: how many.
    columns: a multiple of COLUMNS.
    """
    kernel = Kernel(addresses=7, integers=2)
    code = kernel.code
    normed, weights, bias, uniforms, temperature, chosen, scratch, panels, columns = kernel.arguments
    rows = code.mul(panels, index(PANEL))
    heat = code.spread(code.fdiv(ir.Constant(FLOAT, LOG2_E), code.number(temperature)))
    write = _Writer(code, normed, hidden, weights, bias, heat, rows, code.sdiv(columns, index(COLUMNS)), scratch)
    write.reduce(panels, columns)
    kinds = (FLOAT, FLOAT, INDEX)
    places = [code.scratch(kind, LANES) for kind in kinds]
    with code.loop(code.sdiv(rows, index(LANES))) as several:
        row = code.mul(several.index, index(LANES))
        found = write.choose_blocks(row, code.read(code.at(uniforms, "float32", row), "float32"))
        for place, each in zip(places, found, strict=True):
            code.store(each, place, align=8)
        with code.loop(LANES) as lane:
            own = [
                code.load(code.gep(place, [lane.index], source_etype=kind), typ=kind)
                for place, kind in zip(places, kinds, strict=True)
            ]
            number = code.add(row, lane.index)
            code.store(write.choose_token(number, *own), code.gep(chosen, [number], source_etype=INDEX))
    write.tiles.release()
    return kernel.compile()


class _Writer:
    """Writes the parts of the kernel."""

    def __init__(
        self,
        code: Code,
        normed: Value,
        hidden: int,
        weights: Value,
        bias: Value,
        heat: Value,
        rows: Value,
        blocks: Value,
        scratch: Value,
    ) -> None:
        self.code = code
        self.normed, self.hidden, self.weights, self.bias, self.heat = normed, hidden, weights, bias, heat
        self.rows, self.blocks = rows, blocks
        self.largest = scratch  # of the powers in each block, [blocks, rows]
        # Of 2 to the powers less the largest, then cumulative sums in relation to the largest of all.
        self.sums = code.at(scratch, "float32", code.mul(rows, blocks))
        self.weighed = code.scratch(FLOAT, COLUMNS)
        self.tiles = Tiles(code)

    def reduce(self, panels: Value, columns: Value) -> None:
        """Write what is kept of each block."""
        code = self.code

        def finish(row: Value, column: Value, sums: Sequence[Value]) -> None:
            powers = self._powers(sums, column)
            largest = code.largest([ir.Constant(FLOAT, LOWEST), code.highest(code.largest(powers))])
            total = code.total(code.sum(self._exponentials(powers, code.spread(largest))))
            place = code.add(code.mul(code.sdiv(column, index(COLUMNS)), self.rows), row)
            for value, kept in ((largest, self.largest), (total, self.sums)):
                code.store(value, code.at(kept, "float32", place))

        self.tiles.product(self.normed, self.hidden, self.weights, columns, panels, finish)

    def choose_blocks(self, row: Value, uniforms: Value) -> tuple[Value, Value, Value]:
        """Of `LANES` rows the largest power of all, the remainder of the target, and the block with the token."""
        code = self.code

        def place(of: Value, number: Value) -> Value:
            return code.at(of, "float32", code.add(code.mul(number, self.rows), row))

        with code.loop(self.blocks, vector(LOWEST)) as loop:
            loop.values = [code.largest([loop.values[0], code.read(place(self.largest, loop.index), "float32")])]
        largest = loop.values[0]
        with code.loop(self.blocks, vector(0.0)) as loop:
            power = code.fsub(code.read(place(self.largest, loop.index), "float32"), largest)
            total = code.read(place(self.sums, loop.index), "float32")
            loop.values = [code.multiply_add(total, self.tiles.exp2(power), loop.values[0])]
            code.write(place(self.sums, loop.index), "float32", loop.values[0])
        target = below(code, code.fmul(uniforms, loop.values[0]), loop.values[0])
        none = ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES)
        with code.loop(self.blocks, vector(0.0), none) as loop:
            before, found = loop.values
            seen = code.read(place(self.sums, loop.index), "float32")
            passed = code.fcmp_ordered("<=", seen, target)
            loop.values = [code.select(passed, seen, before), code.add(found, code.zext(passed, none.type))]
        before, found = loop.values
        return largest, code.fsub(target, before), found

    def choose_token(self, row: Value, largest: Value, rest: Value, block: Value) -> Value:
        """The token of a row in a block."""
        code = self.code
        column = code.mul(block, index(COLUMNS))
        sums = self.tiles.of_row(
            code.at(self.normed, "bfloat16", code.mul(row, index(self.hidden))),
            self.hidden,
            code.at(self.weights, "bfloat16", code.mul(column, index(self.hidden))),
        )
        weights = self._exponentials(self._powers(sums, column), code.spread(largest))
        for number, each in enumerate(weights):
            code.write(code.at(self.weighed, "float32", number * LANES), "float32", each)
        total = accumulate(code, self.weighed, COLUMNS)
        token, _ = invert(code, self.weighed, COLUMNS, total, rest)
        return code.add(column, token)

    def _powers(self, sums: Sequence[Value], column: Value) -> list[Value]:
        """Logits from a column on as powers of 2."""
        code = self.code
        biases = [code.read(code.at(self.bias, "float32", code.add(column, index(at))), "float32") for at in (0, LANES)]
        return [code.fmul(code.fadd(value, bias), self.heat) for value, bias in zip(sums, biases, strict=True)]

    def _exponentials(self, powers: Sequence[Value], largest: Value) -> list[Value]:
        return [self.tiles.exp2(self.code.fsub(power, largest)) for power in powers]
