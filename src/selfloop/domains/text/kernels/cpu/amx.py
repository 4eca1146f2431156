"""Matrix products with AMX, the tile registers of Intel's processors since Sapphire Rapids, in kernels of `Code`.

A tile holds 16 rows of 64 bytes. A product of `PANEL` rows and `COLUMNS` columns is summed in four of the eight tiles,
in float32; two hold rows of the source, and two of the weights. So four products follow four reads, and the products
are the limit.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache

from llvmlite import ir

from selfloop.domains.text.kernels.cpu.code import BITS, FLOAT, POINTER, SHORT, Code, Value, index, vector
from selfloop.processor import processor

ROWS = 16  # of a tile
DEPTH = 32  # bfloat16 numbers in a row of a tile
TILE = ROWS * DEPTH  # numbers of weights
PANEL = COLUMNS = 2 * ROWS
LINES_AHEAD = 4  # of the next weights, prefetched with every four tiles: all of them during 8 panels
BYTE = ir.IntType(8)
# 2^x on [0, 1), by Chebyshev interpolation, from the highest power down; to the precision of float32, and to 1e-4
EXP2 = (2.1865785e-4, 1.2391332e-3, 9.6841863e-3, 5.5480630e-2, 2.4023045e-1, 6.9314693e-1, 1.0)
EXP2_TO_1E4 = (7.8967257e-2, 2.2469316e-1, 6.9632477e-1, 9.9990029e-1)
FLOOR, DIRECTION = 0x09, 4  # vreduceps: x less its floor, silently; rounding as the processor is set
# Linux grants a process the use of the registers, which enlarge what it saves of a thread: arch_prctl(2).
ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18

# Writes what a row of a product gives: called with its number, the first of `COLUMNS` columns, and two vectors of sums.
Finish = Callable[[Value, Value, Sequence[Value]], None]


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


@cache
def has_amx() -> bool:
    """Whether this process may multiply bfloat16 in tiles; asks Linux to permit it."""
    if sys.platform != "linux" or not {"amx_tile", "amx_bf16", "avx512_bf16"} <= processor().flags:
        return False
    return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0)


class Tiles:
    """Writes products into a kernel, from its begin on; `release` before its end."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.sums = code.scratch(FLOAT, PANEL * COLUMNS)
        shape = bytearray(64)
        shape[0] = 1  # the palette: eight tiles, of `ROWS` rows each
        shape[16:32] = (2 * DEPTH).to_bytes(2, "little") * 8
        shape[48:56] = bytes([ROWS]) * 8
        configuration = code.alloca(ir.ArrayType(BYTE, len(shape)))
        code.store(ir.Constant(configuration.type.pointee, shape), configuration)
        self._call("ldtilecfg", configuration)

    def release(self) -> None:
        """Leave no tiles to save when Linux switches threads."""
        self._call("tilerelease")

    def product(
        self,
        source: Value,
        depth: int,
        weights: Value,
        columns: Value | int,
        panels: Value,
        finish: Finish,
        also: Sequence[tuple[Value, int]] = (),
    ) -> None:
        """Multiply rows with a matrix.

        Args:
            source: address of bfloat16 [PANEL * panels, depth].
            depth: a multiple of `DEPTH`.
            weights: address of bfloat16 [columns / ROWS, depth / DEPTH, DEPTH / 2, ROWS, 2]: tiles of 16 columns, with
                numbers of the depth in pairs. What follows in memory is prefetched towards the end.
            columns: of the result, a multiple of `COLUMNS`; may be none.
            panels: how many.
            finish: see `Finish`; a panel's sums are finished while the next panel's are computed.
            also: addresses of other bfloat16 matrices with these rows, and their columns, that `finish` reads.
        """
        code = self.code
        tiles = depth // DEPTH
        following = 2 * tiles * TILE
        blocks = columns // COLUMNS if isinstance(columns, int) else code.sdiv(columns, index(COLUMNS))
        with code.loop(blocks, index(-1), index(-1)) as column:
            own = code.at(weights, "bfloat16", code.mul(column.index, index(following)))
            ahead = code.at(own, "bfloat16", following)
            with code.loop(panels, *column.values) as panel:
                row = code.mul(panel.index, index(PANEL))
                with code.if_then(code.icmp_signed("==", column.index, index(0))):
                    for matrix, width in ((source, depth), *also):
                        self._prefetch_rows(matrix, width, code.add(row, index(PANEL)))
                for tile in range(4):
                    self._call("tilezero", _number(tile))
                upper = code.at(source, "bfloat16", code.mul(row, index(depth)))
                with code.loop(tiles) as step:
                    self._add_products(upper, own, step.index, depth)
                    lines = code.mul(code.add(code.mul(panel.index, index(tiles)), step.index), index(LINES_AHEAD))
                    for number in range(LINES_AHEAD):
                        place = code.mul(code.add(lines, index(number)), index(DEPTH))
                        code.prefetch(code.at(ahead, "bfloat16", place))
                    self._finish_part(finish, panel.values, step.index, tiles)
                for tile in range(4):
                    self._call("tilestored64", _number(tile), self._sums_of(tile), index(4 * ROWS))
                panel.values = [row, code.mul(column.index, index(COLUMNS))]
            column.values = panel.values
        computed = code.icmp_signed(">=", column.values[0], index(0))
        with code.if_then(computed), code.loop(PANEL) as line:
            self._finish_line(finish, column.values, line.index)

    def _add_products(self, left: Value, right: Value, step: Value, depth: int) -> None:
        """Add to the sums what tiles at a step along the depth give."""
        code = self.code
        left = code.at(left, "bfloat16", code.mul(step, index(DEPTH)))
        right = code.at(right, "bfloat16", code.mul(step, index(TILE)))
        self._read(4, left, depth)
        self._read(6, right, DEPTH)
        self._multiply(0, 4, 6)
        self._read(7, code.at(right, "bfloat16", depth * ROWS), DEPTH)
        self._multiply(1, 4, 7)
        self._read(5, code.at(left, "bfloat16", ROWS * depth), depth)
        self._multiply(2, 5, 6)
        self._multiply(3, 5, 7)

    def _finish_part(self, finish: Finish, place: Sequence[Value], step: Value, steps: int) -> None:
        """Finish the lines of a step's share of the panel at a place, unless that is negative.

        Vectors are so computed while tiles are multiplied.
        """
        code, share = self.code, -(-PANEL // steps)
        for number in range(share):
            line = code.add(code.mul(step, index(share)), index(number))
            there = code.icmp_signed(">=", place[0], index(0))
            if PANEL % steps:
                there = code.and_(there, code.icmp_signed("<", line, index(PANEL)))
            with code.if_then(there):
                self._finish_line(finish, place, line)

    def _finish_line(self, finish: Finish, place: Sequence[Value], line: Value) -> None:
        """Finish a line of the panel at a row and column."""
        code, (row, column) = self.code, place
        in_tile = code.and_(line, index(ROWS - 1))  # tiles lie side by side in pairs
        sums = self._sums_of(0, code.mul(code.add(code.sub(line, in_tile), line), index(ROWS)))
        found = [code.read(sums, "float32"), code.read(code.at(sums, "float32", ROWS * ROWS), "float32")]
        finish(code.add(row, line), column, found)

    def of_row(self, source: Value, depth: int, weights: Value) -> list[Value]:
        """The product of one row with `COLUMNS` columns, two vectors with the same bits as in `product`.

        Args:
            source: address of the row.
            depth: of it.
            weights: address of the columns' own.
        """
        code = self.code
        for tile in range(2):
            self._call("tilezero", _number(tile))
        with code.loop(depth // DEPTH) as step:
            right = code.at(weights, "bfloat16", code.mul(step.index, index(TILE)))
            self._read(4, code.at(source, "bfloat16", code.mul(step.index, index(DEPTH))), 0)  # in each of the rows
            self._read(6, right, DEPTH)
            self._multiply(0, 4, 6)
            self._read(7, code.at(right, "bfloat16", depth * ROWS), DEPTH)
            self._multiply(1, 4, 7)
        for tile in range(2):
            self._call("tilestored64", _number(tile), self._sums_of(tile), index(4 * ROWS))
        return [code.read(self._sums_of(tile), "float32") for tile in range(2)]

    def write(self, pointer: Value, value: Value) -> None:
        """Write a vector as bfloat16: nearest, ties to even; subnormal numbers as 0."""
        code = self.code
        stored = ir.VectorType(_BFloat(), value.type.count)
        converted = code.call(code.intrinsic("llvm.x86.avx512bf16.cvtneps2bf16.512", stored, [value.type]), [value])
        code.write(pointer, "bfloat16", code.bitcast(converted, ir.VectorType(SHORT, value.type.count)))

    def exp2(self, power: Value) -> Value:
        """2^x of a vector, to 1e-7 relative; 0 of -inf."""
        return self._exp2(power, EXP2)

    def logistic(self, power: Value) -> Value:
        """1 / (1 + 2^x) of a vector, to 2e-4 relative, in few instructions: bfloat16 numbers are 4e-3 apart."""
        scaled = self._exp2(power, EXP2_TO_1E4)
        return self._vectors("rcp14.ps.512", self.code.fadd(scaled, vector(1.0)), rounding=False)

    def _exp2(self, power: Value, coefficients: Sequence[float]) -> Value:
        """2^x by a polynomial of the fraction."""
        fraction = self._vectors("mask.reduce.ps.512", power, ir.Constant(BITS, FLOOR))
        result = vector(coefficients[0])
        for coefficient in coefficients[1:]:
            result = self.code.multiply_add(result, fraction, vector(coefficient))
        return self._vectors("mask.scalef.ps.512", result, power)

    def _vectors(self, name: str, value: Value, *more: Value, rounding: bool = True) -> Value:
        """What an instruction of AVX-512 makes of all of a vector."""
        arguments = [value, *more, value, ir.Constant(SHORT, 0xFFFF)]
        if rounding:
            arguments.append(ir.Constant(BITS, DIRECTION))
        kinds = [given.type for given in arguments]
        return self.code.call(self.code.intrinsic(f"llvm.x86.avx512.{name}", value.type, kinds), arguments)

    def _prefetch_rows(self, matrix: Value, width: int, row: Value) -> None:
        """Prefetch a panel from a row on."""
        code = self.code
        place = code.at(matrix, "bfloat16", code.mul(row, index(width)))
        with code.loop(PANEL * width // DEPTH) as line:
            code.prefetch(code.at(place, "bfloat16", code.mul(line.index, index(DEPTH))))

    def _sums_of(self, tile: int, offset: Value | int = 0) -> Value:
        """The address of a number of a tile's sums in memory."""
        return self.code.at(self.code.at(self.sums, "float32", tile * ROWS * ROWS), "float32", offset)

    def _read(self, tile: int, place: Value, width: int) -> None:
        """Read a tile of a matrix with rows of `width` numbers."""
        self._call("tileloadd64", _number(tile), place, index(2 * width))

    def _multiply(self, sums: int, left: int, right: int) -> None:
        """Add a product of two tiles to a third."""
        self._call("tdpbf16ps", *map(_number, (sums, left, right)))

    def _call(self, name: str, *arguments: Value) -> None:
        kinds = [POINTER if isinstance(given.type, ir.PointerType) else given.type for given in arguments]
        self.code.call(self.code.intrinsic(f"llvm.x86.{name}", ir.VoidType(), kinds), arguments)


def _number(tile: int) -> Value:
    return ir.Constant(BYTE, tile)
