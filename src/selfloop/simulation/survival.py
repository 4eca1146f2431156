"""Which types live on: rows of one type as a branching process through a regime's tables of parts.

A row of type v in data set j gives the probability of v in model m the weight w_jm, its share of the training set, and
so about Poisson(n w_jm) rows of v in each part of n rows that the model samples, independently of others. Let f_j be
the probability that nothing descends from a row of j in training set N. A row in that set itself has f_j = 0, and

    f_j = Π_m [1 - q_jm + q_jm exp(-w_jm Σ_p n (1 - f_p))]

over the training sets m < N that take from j, each row with probability q_jm, and the parts p of model m. A type of c
real rows is in model N with probability 1 - f_real^c. Under replace, 1 - f goes 1, 1 - exp(-1), 1 - exp(-(1 - exp(-1)))
and so on. Poisson counts stand for a multinomial's: good for the rare types, which are those that die.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfloop.data.regimes import TrainingSet
from selfloop.simulation.law import limited

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Place = tuple[int, int, int]  # iteration and part; of fresh rows 0, and the iteration and line that take them


@dataclass(frozen=True)
class _Use:
    """A training set that takes from a data set: each row with probability `share`, and then with this weight."""

    iteration: int
    share: float
    weight: float
    same: bool


@dataclass(frozen=True)
class Extinct:
    """For each training set N: the probability that nothing in it descends from one row.

    Attributes:
        real: of the real train rows, (iterations,).
        fresh: of each draw of fresh rows: their number, and the same.
    """

    real: Array
    fresh: Sequence[tuple[int, Array]]


def extinct(sets: Sequence[TrainingSet], rows: int) -> Extinct:
    """The probabilities of the regime with these training sets, of data sets of `rows` rows."""
    uses: dict[Place, list[_Use]] = {}
    drawn: dict[Place, int] = {}
    for n, one in enumerate(sets, start=1):
        counts = [take.rows(rows) for take in one.takes]
        total = sum(counts)
        kept = round(one.budget * rows) / total if limited(one) and one.budget is not None else 1.0
        weights = sum(take.weight * count for take, count in zip(one.takes, counts, strict=True)) * kept
        for k, (take, count) in enumerate(zip(one.takes, counts, strict=True)):
            if count:
                place = (0, n, k + 1) if take.fresh else (take.iteration, take.part, 0)
                share = kept if take.fresh else kept * count / rows
                uses.setdefault(place, []).append(_Use(n, share, take.weight / weights, take.same and kept == 1))
                if take.fresh:
                    drawn[place] = count
    parts: dict[int, list[Place]] = {}
    for place in uses:
        parts.setdefault(place[0], []).append(place)
    found = np.ones((len(sets), 1 + len(drawn)))
    for last in range(1, len(sets) + 1):
        alive: dict[Place, float] = {}  # 1 - f
        expected: dict[int, float] = {}  # of a model: n Σ_p (1 - f_p)
        for model in range(last - 1, -1, -1):
            for place in parts.get(model, ()):
                alive[place] = 1 - _dead(uses[place], last, expected)
            expected[model] = rows * sum(alive[place] for place in parts.get(model, ()))
        real = (0, 0, 0)
        found[last - 1, 0] = 1 - alive.get(real, 0.0)
        for column, place in enumerate(drawn, start=1):
            found[last - 1, column] = 1 - alive[place]
    return Extinct(found[:, 0], [(count, found[:, i]) for i, count in enumerate(drawn.values(), start=1)])


def _dead(uses: Sequence[_Use], last: int, expected: dict[int, float]) -> float:
    """f of a data set with these uses; `expected` is known of all models between."""
    dead = same = 1.0
    always: float | None = None
    for use in uses:
        if use.iteration > last:
            continue
        gone = 0.0 if use.iteration == last else math.exp(-use.weight * expected[use.iteration])
        if use.same:
            same, always = same * gone, use.share
        else:
            dead *= 1 - use.share + use.share * gone
    return dead if always is None else dead * (1 - always + always * same)


def expected_types(found: Extinct, counts: Integers) -> Array:
    """How many types are expected in each model, (iterations,), where the real train rows have these counts of each."""
    kinds, number = np.unique(counts[counts > 0], return_counts=True)
    return np.asarray((1 - found.real[:, None] ** kinds) @ number)


def expected_drawn_types(found: Extinct, probabilities: Array, rows: int) -> Array:
    """The same where each seed draws its own real rows by these probabilities."""
    gone = (1 - np.outer(1 - found.real, probabilities)) ** rows
    for count, fresh in found.fresh:
        gone *= (1 - np.outer(1 - fresh, probabilities)) ** count
    return np.asarray((1 - gone).sum(axis=1))
