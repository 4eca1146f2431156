"""Vector code for CPUs, compiled by LLVM in this process: without a C compiler, in some hundredths of a second.

Kernels compute with vectors of `LANES` float32 numbers, however wide the processor's registers are. The order of all
sums is written down in the kernel, and so is where multiply-adds are fused. So a kernel gives the same bytes on every
processor.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

LANES = 16
FLOAT, BITS, SHORT, INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(16), ir.IntType(64)
POINTER = ir.PointerType()
STORED = {"float32": FLOAT, "bfloat16": SHORT}  # numbers in memory
BYTES = {"float32": 4, "bfloat16": 2}
CACHE_LINE = 64  # bytes
LOG2_E = 1.4426950408889634
# 2^x on [-1/2, 1/2], by Chebyshev interpolation, from the highest power down; 3e-9 relative beside float32's rounding
EXP2 = (1.5461445e-4, 1.3400428e-3, 9.6180567e-3, 5.5503272e-2, 2.4022651e-1, 6.9314721e-1, 1.0)
ROUNDER = 1.5 * 2**23  # a float32 below 2^22 plus this has its nearest integer in the last bits

Value = Any  # llvmlite has no type hints


def index(number: int) -> Value:
    """An integer, such as an offset into memory."""
    return ir.Constant(INDEX, number)


def vector(number: float, lanes: int = LANES) -> Value:
    """A vector of equal float32 numbers."""
    return ir.Constant(ir.VectorType(FLOAT, lanes), [ir.Constant(FLOAT, number)] * lanes)


class Loop:
    """A loop that is being written.

    Attributes:
        index: of the iteration, from 0 on.
        values: in the body those before the iteration, to be replaced by those after it; after the loop the last ones.
    """

    def __init__(self, index: Value, values: Sequence[Value]) -> None:
        self.index = index
        self.values = list(values)


class Code(ir.IRBuilder):  # type: ignore[misc]
    """The instructions of a kernel. Numbers are float32 in registers, and "float32" or "bfloat16" in memory."""

    def at(self, pointer: Value, dtype: str, offset: Value | int) -> Value:
        """The address of the number at an offset."""
        offset = index(offset) if isinstance(offset, int) else offset
        return self.gep(pointer, [offset], source_etype=STORED[dtype])

    def scratch(self, kind: Value, count: int) -> Value:
        """The address of memory for numbers, as long as the kernel runs; beginning with a cache line."""
        memory = self.alloca(ir.ArrayType(kind, count))
        memory.align, memory.type = CACHE_LINE, POINTER
        return memory

    def read(self, pointer: Value, dtype: str, lanes: int = LANES) -> Value:
        """A vector."""
        value = self.load(pointer, typ=ir.VectorType(STORED[dtype], lanes), align=BYTES[dtype])
        if dtype == "float32":
            return value
        bits = self.shl(self.zext(value, ir.VectorType(BITS, lanes)), _equal(16, lanes))
        return self.bitcast(bits, ir.VectorType(FLOAT, lanes))

    def read_pair(
        self, rows: Value, dtype: str, width: int, row: Value, column: int, lanes: int = LANES
    ) -> tuple[Value, Value]:
        """Vectors of two rows of `width`, from a column on: of `row`, which is even, and of the next.

        Rows of bfloat16 are interleaved in pairs: the halves of 32 bits are float32 numbers once the other is masked
        or shifted away, which takes half of the instructions that widening does.
        """
        place = self.in_pair(rows, dtype, width, row, index(column))
        if dtype == "float32":
            return self.read(place, dtype, lanes), self.read(self.at(place, dtype, width), dtype, lanes)
        both = self.load(place, typ=ir.VectorType(BITS, lanes), align=BYTES[dtype])
        even, odd = self.shl(both, _equal(16, lanes)), self.and_(both, _equal(0xFFFF0000, lanes))
        return self.bitcast(even, ir.VectorType(FLOAT, lanes)), self.bitcast(odd, ir.VectorType(FLOAT, lanes))

    def in_pair(self, rows: Value, dtype: str, width: int, row: Value, column: Value) -> Value:
        """The address of a number in rows that lie in pairs; see `read_pair`."""
        if dtype == "float32":
            return self.at(rows, dtype, self.add(self.mul(row, index(width)), column))
        odd = self.and_(row, index(1))
        pair = self.mul(self.sub(row, odd), index(width))
        return self.at(rows, dtype, self.add(pair, self.add(self.mul(column, index(2)), odd)))

    def write_to_pair(self, rows: Value, dtype: str, width: int, row: Value, column: Value, stored: Value) -> None:
        """Write a vector, as `rounded` returns it, into a row of those that lie in pairs, from a column on."""
        if dtype == "float32":
            self.write(self.in_pair(rows, dtype, width, row, column), dtype, stored)
            return
        lanes = stored.type.count
        odd = self.and_(row, index(1))
        place = self.in_pair(rows, dtype, width, self.sub(row, odd), column)
        shift = self.spread(self.trunc(self.mul(odd, index(16)), BITS), lanes)
        other = self.lshr(_equal(0xFFFF0000, lanes), shift)
        both = self.and_(self.load(place, typ=ir.VectorType(BITS, lanes), align=BYTES[dtype]), other)
        own = self.shl(self.zext(stored, ir.VectorType(BITS, lanes)), shift)
        self.store(self.or_(both, own), place, align=BYTES[dtype])

    def number(self, pointer: Value) -> Value:
        """A single float32."""
        return self.load(pointer, typ=FLOAT, align=4)

    def write(self, pointer: Value, dtype: str, value: Value) -> None:
        """Write a vector of any type."""
        self.store(value, pointer, align=BYTES[dtype])

    def prefetch(self, pointer: Value, written: bool = False) -> None:
        """Prefetch the cache line at an address, which may be outside of the memory, into the L2 cache: L1 is small.

        If it is to be written, take it from other cores, too.
        """
        function = self.intrinsic("llvm.prefetch.p0", ir.VoidType(), [POINTER, BITS, BITS, BITS])
        write, level, data = (ir.Constant(BITS, number) for number in (int(written), 2, 1))
        self.call(function, [pointer, write, level, data])

    def rounded(self, value: Value, dtype: str) -> Value:
        """A vector as it is stored: nearest, ties to even; NaN stays NaN."""
        if dtype == "float32":
            return value
        lanes = value.type.count
        bits = self.bitcast(value, ir.VectorType(BITS, lanes))
        odd = self.and_(self.lshr(bits, _equal(16, lanes)), _equal(1, lanes))
        nearest = self.lshr(self.add(self.add(bits, _equal(0x7FFF, lanes)), odd), _equal(16, lanes))
        nearest = self.select(self.fcmp_unordered("uno", value, value), _equal(0x7FC0, lanes), nearest)
        return self.trunc(nearest, ir.VectorType(SHORT, lanes))

    def spread(self, number: Value, lanes: int = LANES) -> Value:
        """A vector of equal numbers."""
        undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
        first = self.insert_element(undefined, number, ir.Constant(BITS, 0))
        return self.shuffle_vector(first, undefined, _equal(0, lanes))

    def split(self, value: Value) -> list[Value]:
        """The numbers of a vector."""
        return [self.extract_element(value, ir.Constant(BITS, lane)) for lane in range(value.type.count)]

    def sum(self, values: Sequence[Value]) -> Value:
        """The sum of numbers or vectors, a power of two of them, in pairs."""
        while len(values) > 1:
            half = len(values) // 2
            values = [self.fadd(*pair) for pair in zip(values[:half], values[half:], strict=True)]
        return values[0]

    def total(self, value: Value) -> Value:
        """The sum of a vector's numbers, in pairs as in `sum`."""
        return self._folded(value, self.fadd)

    def highest(self, value: Value) -> Value:
        """The largest of a vector's numbers."""
        return self._folded(value, lambda one, other: self.largest([one, other]))

    def _folded(self, value: Value, combined: Callable[[Value, Value], Value]) -> Value:
        """A vector's halves combined, and those of the result, until it is a number."""
        while (lanes := value.type.count // 2) > 0:
            kind = ir.VectorType(BITS, lanes)
            numbers = [ir.Constant(BITS, lane) for lane in range(2 * lanes)]
            halves = (ir.Constant(kind, numbers[:lanes]), ir.Constant(kind, numbers[lanes:]))
            value = combined(*(self.shuffle_vector(value, value, half) for half in halves))
        return self.extract_element(value, ir.Constant(BITS, 0))

    def largest(self, values: Sequence[Value]) -> Value:
        """The largest of numbers, or the largest ones of vectors; NaN is passed over."""
        found = values[0]
        for value in values[1:]:
            found = self.select(self.fcmp_ordered(">", value, found), value, found)
        return found

    def multiply_add(self, one: Value, other: Value, added: Value) -> Value:
        """one · other + added of vectors, rounded once."""
        fused = self.intrinsic(f"llvm.fma.v{added.type.count}f32", added.type, [added.type] * 3)
        return self.call(fused, [one, other, added])

    def exp(self, value: Value) -> Value:
        """e^x of a vector of numbers that are not positive, to 1e-7 relative; 0 below 2^-126. NaN stays NaN."""
        power = self.fmul(value, vector(LOG2_E))
        vanishes = self.fcmp_ordered("<", power, vector(-126.0))
        power = self.select(vanishes, vector(-126.0), power)
        shifted = self.fadd(power, vector(ROUNDER))
        fraction = self.fsub(power, self.fsub(shifted, vector(ROUNDER)))
        result = vector(EXP2[0])
        for coefficient in EXP2[1:]:
            result = self.multiply_add(result, fraction, vector(coefficient))
        bits = ir.VectorType(BITS, LANES)
        exponent = self.shl(self.bitcast(shifted, bits), _equal(23, LANES))
        return self.select(
            vanishes, vector(0.0), self.bitcast(self.add(self.bitcast(result, bits), exponent), value.type)
        )

    def square_root(self, number: Value) -> Value:
        """Of a number."""
        return self.call(self.intrinsic("llvm.sqrt.f32", FLOAT, [FLOAT]), [number])

    def intrinsic(self, name: str, result: Value, arguments: Sequence[Value]) -> Value:
        """A function that LLVM defines."""
        declared = self.module.globals.get(name)
        return declared or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    @contextmanager
    def loop(self, count: Value | int, *values: Value) -> Iterator[Loop]:
        """The body is written in the context; `values` are those before the first iteration."""
        if count == 1:
            yield Loop(index(0), values)
            return
        count = index(count) if isinstance(count, int) else count
        before = self.block
        head, body, after = (self.append_basic_block(name) for name in ("head", "body", "after"))
        self.branch(head)
        self.position_at_end(head)
        number = self.phi(INDEX)
        number.add_incoming(index(0), before)
        changing = [self.phi(value.type) for value in values]
        for phi, value in zip(changing, values, strict=True):
            phi.add_incoming(value, before)
        self.cbranch(self.icmp_signed("<", number, count), body, after)
        self.position_at_end(body)
        loop = Loop(number, changing)
        yield loop
        number.add_incoming(self.add(number, index(1)), self.block)
        for phi, value in zip(changing, loop.values, strict=True):
            phi.add_incoming(value, self.block)
        self.branch(head)
        self.position_at_end(after)
        loop.values = changing


def _equal(number: int, lanes: int) -> Value:
    """A vector of equal integers of 32 bits."""
    return ir.Constant(ir.VectorType(BITS, lanes), [ir.Constant(BITS, number)] * lanes)


class Kernel:
    """A function that is written with `code` and then compiled.

    Attributes:
        code: its instructions.
        arguments: addresses (of pairwise separate memory) and integers, in this order.
    """

    def __init__(self, addresses: int, integers: int) -> None:
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * addresses + [INDEX] * integers)
        function = ir.Function(ir.Module(), kind, "kernel")
        for argument in function.args[:addresses]:
            argument.add_attribute("noalias")
        self.arguments: list[Value] = list(function.args)
        self.code = Code(function.append_basic_block("entry"))

    def compile(self) -> Callable[..., None]:
        """The function, which takes integers; threads run it side by side, since ctypes releases the GIL."""
        self.code.ret_void()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        parsed = llvm.parse_assembly(str(self.code.module))
        parsed.verify()
        processor = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
        )
        engine = llvm.create_mcjit_compiler(parsed, processor)
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(self.arguments))
        kernel: Any = kind(engine.get_function_address("kernel"))
        kernel.engine = engine  # the code is freed with it
        called: Callable[..., None] = kernel
        return called
