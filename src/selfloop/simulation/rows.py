"""Chains of many seeds whose data sets are kept row by row.

Which rows every training set takes is drawn first. Of a part, no other rows are then sampled than those that some
training set takes, and each training set is gathered at once. Rows have numbers from 0, those of all data sets one
after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

from selfloop.data.regimes import REAL, Take, TrainingSet
from selfloop.simulation.law import limited
from selfloop.simulation.stacked import Array, Integers, Streams, even_width, key

M = TypeVar("M")
Place = tuple[int, int, int]  # iteration and part; of fresh rows, the iteration and line that take them, and 1
NUMBERS = 2**25  # of all data sets of a block of seeds, at most


class RowChains(Protocol[M]):
    """A domain's models and data sets, of `seeds` chains at once; arrays have seeds as their first axis."""

    def real(self, generator: np.random.Generator) -> Array:
        """The real train rows, (seeds, rows, columns)."""

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        """Further real rows, that many."""

    def sample(self, model: M, generator: np.random.Generator, rows: Integers, out: Array) -> None:
        """Write rows of one part to `out` (seeds, count, columns), by their numbers in it (seeds, count)."""

    def fit(self, rows: Array, weights: Array | None) -> M:
        """A model of rows (seeds, N, columns), which it may overwrite, with weights (seeds, N) that add up to 1.

        The weights are None where all are 1/N.
        """

    def measure(self, model: M) -> Mapping[str, Array]:
        """What is measured of a model, (seeds,) each."""


@dataclass
class _DataSet:
    """Rows from number `begin` on, held from one training set to another (indices from 0) in a slot of the buffer."""

    place: Place
    begin: int
    rows: int
    first: int
    last: int
    slot: int = 0

    @property
    def given(self) -> bool:
        """Whether its rows are real."""
        return self.place[0] == REAL or bool(self.place[2])


@dataclass
class _Training:
    """A training set: its lines (index, take, rows, data set), and how many rows its budget leaves."""

    lines: list[tuple[int, Take, int, _DataSet]]
    kept: int | None

    @property
    def alike(self) -> bool:
        """Whether all rows have one weight."""
        return len({take.weight for _, take, *_ in self.lines}) == 1

    @property
    def whole(self) -> bool:
        """Whether each line takes all rows of a data set."""
        return all(count == data.rows for _, _, count, data in self.lines)

    @property
    def together(self) -> bool:
        """Whether the rows of its data sets have consecutive numbers."""
        return all(one.begin + one.rows == other.begin for (*_, one), (*_, other) in pairwise(self.lines))

    @property
    def everything(self) -> Integers:
        """The numbers of all rows of its data sets, (N,)."""
        return np.concatenate([np.arange(data.begin, data.begin + data.rows) for *_, data in self.lines])

    def numbers(self, at: Integers) -> Integers:
        """Those of `everything` at these places."""
        return self.lines[0][3].begin + at if self.together else self.everything[at]


@dataclass
class Layout:
    """The data sets of a regime, and what its training sets take from them: all that is not drawn."""

    rows: int
    data: dict[Place, _DataSet] = field(default_factory=dict)
    sets: list[_Training] = field(default_factory=list)
    begun: dict[int, list[_DataSet]] = field(default_factory=dict)
    total: int = 0
    slots: int = 0


def layout(sets: Sequence[TrainingSet], rows: int) -> Layout:
    """The layout of training sets from iteration 1 on, of data sets of `rows` rows."""
    found = Layout(rows)
    for n, one in enumerate(sets):
        lines = []
        for k, take in enumerate(one.takes):
            if count := take.rows(rows):
                place = (n, k, 1) if take.fresh else (*key(take), 0)
                if place not in found.data:
                    data = _DataSet(place, found.total, count if take.fresh else rows, n if take.fresh else place[0], n)
                    found.data[place] = data
                    found.total += data.rows
                found.data[place].last = n
                lines.append((k, take, count, found.data[place]))
        kept = round(one.budget * rows) if limited(one) and one.budget is not None else None
        found.sets.append(_Training(lines, kept))
    ends: dict[int, list[_DataSet]] = {}
    for data in found.data.values():
        found.begun.setdefault(data.first, []).append(data)
        ends.setdefault(data.last, []).append(data)
    free: list[int] = []
    for n in range(len(sets)):
        for data in found.begun.get(n, ()):
            if not free:
                free, found.slots = [found.slots], found.slots + 1
            data.slot = free.pop()
        free += [data.slot for data in ends.get(n, ())]
    return found


def lanes(rows: int, columns: int, iterations: int) -> int:
    """Seeds per block: few, where chains are long, as row numbers of all iterations are held at once."""
    return even_width(NUMBERS // (rows * max(columns, 4) * iterations))


def run(chains: RowChains[M], plan: Layout, streams: Streams, seeds: int) -> dict[str, Array]:
    """Run the chains of a block; what is measured of every model, (seeds, iterations) by name."""
    orders: dict[int, Integers] = {}
    taken = [_numbers(plan, n, streams, seeds, orders) for n in range(len(plan.sets))]
    needed = _needed(plan, [ids for ids, _ in taken], seeds)
    widest = max(own.shape[1] for own, _ in needed.values())
    each = np.arange(seeds)[:, None]
    where = np.empty((seeds, plan.total), np.int64)  # of every row in the buffer
    for place, data in plan.data.items():
        where[:, data.begin : data.begin + data.rows] = (data.slot * seeds + each) * widest + needed[place][1]
    buffer: Array | None = None
    measured: dict[str, list[Array]] = {}
    model: M | None = None
    for n, (ids, weights) in enumerate(taken):
        for data in plan.begun.get(n, ()):
            place = data.place
            generator = streams.of("fresh" if place[2] else "rows", *place[:2])
            if not data.given:
                assert model is not None and buffer is not None
                own = needed[place][0]
                chains.sample(model, generator, own, buffer[data.slot, :, : own.shape[1]])
                continue
            drawn = chains.fresh(generator, data.rows) if place[2] else chains.real(generator)
            if buffer is None:
                buffer = np.empty((plan.slots, seeds, widest, drawn.shape[2]))
            buffer[data.slot, :, : drawn.shape[1]] = drawn
        assert buffer is not None
        at = where[:, plan.sets[n].everything] if ids is None else np.take_along_axis(where, ids, axis=1)
        model = chains.fit(buffer.reshape(-1, buffer.shape[-1]).take(at, axis=0), weights)
        for name, values in chains.measure(model).items():
            measured.setdefault(name, []).append(values)
    return {name: np.stack(values, axis=1) for name, values in measured.items()}


def _numbers(
    plan: Layout, n: int, streams: Streams, seeds: int, orders: dict[int, Integers]
) -> tuple[Integers | None, Array | None]:
    """The rows of training set n (seeds, N), None for all of its data sets; and their weights (seeds, N), if they
    differ.

    `orders`, by data set, are those of rows that are the same at every iteration.
    """
    one = plan.sets[n]
    ids: Integers | None = None
    if not one.whole:
        chosen = []
        for k, take, count, data in one.lines:
            if count == data.rows:
                own = np.broadcast_to(np.arange(count), (seeds, count))
            elif take.same:
                if data.begin not in orders:  # a larger number of rows has those of a smaller
                    orders[data.begin] = streams.of("same", *key(take)).random((seeds, plan.rows)).argsort(axis=1)
                own = orders[data.begin][:, :count]
            else:
                own = distinct(streams.of("picks", n, k, *key(take)), seeds, count, plan.rows)
            chosen.append(data.begin + own)
        ids = np.concatenate(chosen, axis=1)
    kept: Integers | None = None
    if one.kept is not None:
        kept = distinct(streams.of("budget", n), seeds, one.kept, sum(count for _, _, count, _ in one.lines))
        ids = one.numbers(kept) if ids is None else np.take_along_axis(ids, kept, axis=1)
    if one.alike:
        return ids, None
    weight = np.concatenate([np.full(count, take.weight) for _, take, count, _ in one.lines])
    weights = np.broadcast_to(weight, (seeds, len(weight))) if kept is None else weight[kept]
    return ids, weights / weights.sum(axis=1, keepdims=True)


def _needed(plan: Layout, numbers: Sequence[Integers | None], seeds: int) -> dict[Place, tuple[Integers, Integers]]:
    """Of each data set the rows that are drawn, (seeds, count), and the place of every row among them, (seeds, rows).

    Real ones are all drawn. Where seeds need different numbers of rows, some are drawn for nothing.
    """
    taken = np.zeros((seeds, plan.total), bool)
    for ids, one in zip(numbers, plan.sets, strict=True):
        if ids is not None:
            taken[np.arange(seeds)[:, None], ids] = True
            continue
        for *_, data in one.lines:
            taken[:, data.begin : data.begin + data.rows] = True
    found = {}
    for place, data in plan.data.items():
        own = taken[:, data.begin : data.begin + data.rows]
        width = int(own.sum(axis=1).max())
        if data.given or width == data.rows:
            everything = np.broadcast_to(np.arange(data.rows), own.shape)
            found[place] = everything, everything
        else:
            found[place] = np.argsort(~own, axis=1, kind="stable")[:, :width], own.cumsum(axis=1) - 1
    return found


def distinct(generator: np.random.Generator, seeds: int, count: int, of: int) -> Integers:
    """For each seed a uniform random set of `count` numbers below `of`, ascending, (seeds, count)."""
    if 3 * count > of:
        order = generator.random((seeds, of)).argsort(axis=1)[:, :count]
        order.sort(axis=1)
        return order
    # With replacement, and repeated ones drawn again until there are none: the first distinct ones of a sequence.
    sets = np.sort(generator.integers(of, size=(seeds, count)), axis=1)
    while (repeated := sets[:, 1:] == sets[:, :-1]).any():
        sets[:, 1:][repeated] = generator.integers(of, size=int(repeated.sum()))
        sets.sort(axis=1)
    return sets
