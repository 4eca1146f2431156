"""Chains of many seeds at once, in memory: a regime's tables of parts, run by what a domain says of its models.

A data set here is what a domain keeps of it for all seeds of a block, such as the sums that its fit needs. It is
sampled once, and dropped after the last iteration that takes from it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from selfloop.data.regimes import Take, TrainingSet
from selfloop.identity import digest
from selfloop.simulation.law import limited

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
M = TypeVar("M")
S = TypeVar("S")
LANES = 100  # seeds per block, which is always drawn whole: a seed's values do not depend on the others


class Chains(Protocol[M, S]):
    """A domain's models and data sets, of `seeds` chains at once; arrays have seeds as their first axis.

    Attributes:
        by_rows: whether data sets are kept row by row; else the number of rows is all that a pick is told.
    """

    by_rows: bool

    def real(self, generator: np.random.Generator) -> S:
        """The real train rows."""

    def fresh(self, generator: np.random.Generator, rows: int) -> S:
        """Further real rows, that many."""

    def sample(self, model: M, generator: np.random.Generator) -> S:
        """One part, of as many rows as the real train split."""

    def pick(self, data: S, picked: "Picked") -> S:
        """Some of the rows of a data set, drawn without replacement."""

    def merge(self, data: Sequence[S]) -> S:
        """All rows of several data sets; asked of domains that do not keep them row by row."""

    def fit(self, taken: Sequence[tuple[S, Array]]) -> M:
        """A model of the rows of all data sets; with each, the share (seeds,) of its rows in the weight of all."""

    def measure(self, model: M) -> Mapping[str, Array]:
        """What is measured of a model, (seeds,) each."""


@dataclass(frozen=True)
class Picked:
    """Which rows of a data set are drawn.

    Attributes:
        numbers: how many of each seed's, (seeds,).
        generator: draws them, where data sets are not kept row by row.
        rows: else which, of all seeds one after the other, (Σ numbers,).
    """

    numbers: Integers
    generator: np.random.Generator
    rows: Integers | None = None


@dataclass(frozen=True)
class Streams:
    """The random numbers of a block of seeds, by purpose: what two regimes do alike they do with the same numbers."""

    identity: str
    block: int

    def of(self, *purpose: object) -> np.random.Generator:
        """The generator of one purpose."""
        seed = int(digest([self.identity, self.block, *map(str, purpose)]), 16)
        return np.random.Generator(np.random.SFC64(seed))


def blocks(seeds: int, lanes: int = LANES) -> Iterator[tuple[int, int]]:
    """The number of each block of seeds, and how many of its first seeds are asked for."""
    for block in range(-(-seeds // lanes)):
        yield block, min(lanes, seeds - block * lanes)


def run(
    chains: Chains[M, S],
    sets: Sequence[TrainingSet],
    rows: int,
    streams: Streams,
    seeds: int,
    each: Callable[[int, M], object] = lambda iteration, model: None,
) -> dict[str, Array]:
    """Run the chains of a block; what is measured of every model, (seeds, iterations) by name.

    Args:
        chains: the domain's models.
        sets: training sets from iteration 1 on.
        rows: of the real train split.
        streams: of the block.
        seeds: of the block.
        each: is given every iteration and its model.
    """
    last = {key(take): n for n, one in enumerate(sets) for take in one.takes if not take.fresh}
    held: dict[tuple[int, int], S] = {}
    measured: dict[str, list[Array]] = {}
    same: dict[object, S] = {}
    for n, one in enumerate(sets):
        taken = []
        for k, take in enumerate(one.takes):
            count = take.rows(rows)
            if not count:
                continue
            if take.fresh:
                data = chains.fresh(streams.of("fresh", n, k), count)
            else:
                place = key(take)
                if place not in held:
                    held[place] = chains.real(streams.of("rows", *place))  # others are there since their model is
                data = held[place]
                if count < rows and take.same:
                    if (place, count) not in same:
                        picked = _some(chains.by_rows, count, rows, streams.of("same", *place), seeds, nested=True)
                        same[place, count] = chains.pick(data, picked)
                    data = same[place, count]
                elif count < rows:
                    picked = _some(chains.by_rows, count, rows, streams.of("picks", n, k, *place), seeds)
                    data = chains.pick(data, picked)
            taken.append((data, np.full(seeds, float(count)), take.weight))
        if limited(one):
            assert one.budget is not None
            taken = _cut(chains, taken, round(one.budget * rows), streams, n)
        weights = np.array([counts * weight for _, counts, weight in taken])
        shares = weights / weights.sum(axis=0)
        model = chains.fit([(data, share) for (data, *_), share in zip(taken, shares, strict=True)])
        each(n + 1, model)
        for name, values in chains.measure(model).items():
            measured.setdefault(name, []).append(values)
        for place in last:
            if place[0] == n + 1:
                held[place] = chains.sample(model, streams.of("rows", *place))
        for place in [place for place in held if last[place] <= n]:
            del held[place]
    return {name: np.stack(values, axis=1) for name, values in measured.items()}


def key(take: Take) -> tuple[int, int]:
    """The data set that a take takes from."""
    return take.iteration, take.part


def _some(
    by_rows: bool, count: int, rows: int, generator: np.random.Generator, seeds: int, nested: bool = False
) -> Picked:
    """`count` of the `rows` of a data set; if nested, a larger count has those of a smaller."""
    chosen = None
    if by_rows and nested:
        chosen = generator.random((seeds, rows)).argsort(axis=1)[:, :count].ravel()
    elif by_rows:
        chosen = distinct(generator, seeds, count, rows).ravel()
    return Picked(np.full(seeds, count), generator, chosen)


def _cut(
    chains: Chains[M, S], taken: list[tuple[S, Array, float]], kept: int, streams: Streams, n: int
) -> list[tuple[S, Array, float]]:
    """What is left of data sets after a budget of `kept` rows, drawn uniformly from all of them."""
    counts = np.array([counts[0] for _, counts, _ in taken], dtype=np.int64)
    seeds, generator = len(taken[0][1]), streams.of("budget", n)
    ends = np.cumsum(counts)
    if not chains.by_rows and len({weight for *_, weight in taken}) == 1:
        # All rows are alike: what is left of which data set does not matter.
        picked = Picked(np.full(seeds, kept), generator)
        pooled = chains.pick(chains.merge([data for data, *_ in taken]), picked)
        return [(pooled, picked.numbers.astype(np.float64), 1.0)]
    if chains.by_rows:
        pool = distinct(generator, seeds, kept, int(ends[-1]))
        inside = [(pool >= end - count) & (pool < end) for count, end in zip(counts, ends, strict=True)]
        chosen = [
            Picked(own.sum(axis=1), generator, pool[own] - (end - count))
            for own, count, end in zip(inside, counts, ends, strict=True)
        ]
    else:
        numbers = generator.multivariate_hypergeometric(counts, kept, seeds)
        chosen = [Picked(own, streams.of("budget", n, k)) for k, own in enumerate(numbers.T)]
    return [
        (chains.pick(data, picked), picked.numbers.astype(np.float64), weight)
        for (data, _, weight), picked in zip(taken, chosen, strict=True)
    ]


def distinct(generator: np.random.Generator, seeds: int, count: int, of: int) -> Integers:
    """For each seed a uniform random set of `count` numbers below `of`, ascending, (seeds, count)."""
    if 3 * count > of:
        order = generator.random((seeds, of)).argsort(axis=1)[:, :count]
        order.sort(axis=1)
        return order
    # With replacement, and repeated ones drawn again until there are none: the first distinct ones of a sequence.
    sets = np.sort(generator.integers(of, size=(seeds, count)), axis=1)
    while (repeated := np.diff(sets, axis=1, prepend=-1) == 0).any():
        sets[repeated] = generator.integers(of, size=int(repeated.sum()))
        sets.sort(axis=1)
    return sets
