"""Chains of many seeds at once, in memory: a regime's tables of parts, run by what a domain says of its models.

A data set here is what a domain keeps of it for all seeds of a block, such as the sums that its fit needs. It is
sampled once, and dropped after the last iteration that takes from it.
"""

from collections.abc import Callable, Mapping, Sequence
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
    """A domain's models and data sets, of `seeds` chains at once; arrays have seeds as their first axis."""

    def real(self, generator: np.random.Generator) -> S:
        """The real train rows."""

    def fresh(self, generator: np.random.Generator, rows: int) -> S:
        """Further real rows, that many."""

    def sample(self, model: M, generator: np.random.Generator) -> S:
        """One part, of as many rows as the real train split."""

    def pick(self, data: S, numbers: Integers, generator: np.random.Generator) -> S:
        """As many of the rows of each seed's data set, (seeds,), drawn without replacement."""

    def merge(self, data: Sequence[S]) -> S:
        """All rows of several data sets."""

    def fit(self, taken: Sequence[tuple[S, Array]]) -> M:
        """A model of the rows of all data sets; with each, the share (seeds,) of its rows in the weight of all."""

    def measure(self, model: M) -> Mapping[str, Array]:
        """What is measured of a model, (seeds,) each."""


@dataclass(frozen=True)
class Streams:
    """The random numbers of a block of seeds, by purpose: what two regimes do alike they do with the same numbers."""

    identity: str
    block: int

    def of(self, *purpose: object) -> np.random.Generator:
        """The generator of one purpose."""
        seed = int(digest([self.identity, self.block, *map(str, purpose)]), 16)
        return np.random.Generator(np.random.SFC64(seed))


def run(
    chains: Chains[M, S],
    sets: Sequence[TrainingSet],
    rows: int,
    streams: Streams,
    seeds: int,
) -> dict[str, Array]:
    """Run the chains of a block; what is measured of every model, (seeds, iterations) by name.

    Args:
        chains: the domain's models.
        sets: training sets from iteration 1 on.
        rows: of the real train split.
        streams: of the block.
        seeds: of the block.
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
                        generator = streams.of("same", *place)
                        same[place, count] = chains.pick(data, np.full(seeds, count), generator)
                    data = same[place, count]
                elif count < rows:
                    data = chains.pick(data, np.full(seeds, count), streams.of("picks", n, k, *place))
            taken.append((data, np.full(seeds, float(count)), take.weight))
        if limited(one):
            assert one.budget is not None
            taken = _cut(chains, taken, round(one.budget * rows), streams, n)
        weights = np.array([counts * weight for _, counts, weight in taken])
        shares = weights / weights.sum(axis=0)
        model = chains.fit([(data, share) for (data, *_), share in zip(taken, shares, strict=True)])
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


def _cut(
    chains: Chains[M, S], taken: list[tuple[S, Array, float]], kept: int, streams: Streams, n: int
) -> list[tuple[S, Array, float]]:
    """What is left of data sets after a budget of `kept` rows, drawn uniformly from all of them."""
    counts = np.array([counts[0] for _, counts, _ in taken], dtype=np.int64)
    seeds, generator = len(taken[0][1]), streams.of("budget", n)
    if len({weight for *_, weight in taken}) == 1:
        # All rows are alike: what is left of which data set does not matter.
        numbers = np.full(seeds, kept)
        pooled = chains.pick(chains.merge([data for data, *_ in taken]), numbers, generator)
        return [(pooled, numbers.astype(np.float64), 1.0)]
    left = generator.multivariate_hypergeometric(counts, kept, seeds).T
    return [
        (chains.pick(data, numbers, streams.of("budget", n, k)), numbers.astype(np.float64), weight)
        for k, ((data, _, weight), numbers) in enumerate(zip(taken, left, strict=True))
    ]


def even_width(most: int) -> int:
    """Seeds per block, `most` at most if that is not 0: so that 100 seeds are whole blocks, or nearly."""
    count = -(-LANES // max(1, min(LANES, most)))
    return -(-LANES // count)


def blocks(
    run_block: Callable[[Streams, int], Mapping[str, Array]], identity: str, seeds: int, width: int
) -> dict[str, Array]:
    """What is measured of all seeds, (seeds, iterations) by name.

    Args:
        run_block: runs a block of that many seeds, always whole: a seed's values do not depend on the others.
        identity: of the random numbers.
        seeds: that are asked for.
        width: of a block.
    """
    found = [run_block(Streams(identity, block), width) for block in range(-(-seeds // width))]
    return {name: np.concatenate([block[name] for block in found])[:seeds] for name in found[0]}
