"""What the next model learns from: a regime is a short table of parts, not code.

This module is pure: no torch, no files. The Snakefile asks it, while it parses, which parts the training set of
iteration n is made of; everything else (paths, jobs, shared histories) follows from the answer.

Terms: iteration 1 is trained on the real rows. The model of iteration m then samples *parts*, data sets of as many rows
as the real train split; part 0 is the one most regimes use, further parts are independent samples of the same model.
An *amount* is a multiple of the real train rows, so that a regime means the same for every data set. The *reserve* is a
data set of further real rows, of which each iteration takes others: they are *fresh*.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfloop.config import models
    from selfloop.config.filters import Filter

REAL = 0  # the "iteration" that the real data come from
_ROUNDING = 1e-9  # a sum of fractions that is this close to a whole number is whole


@dataclass(frozen=True)
class Choice:
    """How a filter chooses rows of candidates; see `config.filters.Filter`.

    Attributes:
        name: of the filter, for messages.
        keep, each, candidates, beta, noise, threshold: as in the config.
        random: whether as many rows are chosen at random instead.
    """

    name: str
    keep: str
    each: bool
    candidates: int
    beta: float
    noise: float
    random: bool = False
    threshold: float | None = None

    def parts(self, amount: float) -> int:
        """How many data sets hold the candidates for an amount of chosen rows."""
        return pieces(amount) * self.candidates if self.each else pieces(amount * self.candidates)


@dataclass(frozen=True)
class Take:
    """Rows that a training set takes from one data set.

    Attributes:
        iteration: whose model sampled the rows; `REAL` (0) for real rows.
        part: which of that model's parts (0 for real rows).
        amount: rows in multiples of the real train rows. Every data set but the reserve has just as many, so that it is
            at most 1; rows of a fraction are drawn by seed.
        skip: of fresh rows, how many of the reserve earlier iterations and lines have taken, in the same unit.
        weight: how much each row counts in the loss, relative to the others of the training set.
        filter: how a filter chooses the rows, of this data set and the following parts of the same model together; None
            where there is none. The amount is this data set's share of the chosen rows.
        fresh: whether the rows come from the reserve instead of the train split. No other take of a chain has them.
        same: whether the rows drawn of this data set are the same at every iteration.
    """

    iteration: int
    part: int = 0
    amount: float = 1.0
    skip: float = 0.0
    weight: float = 1.0
    filter: Choice | None = None
    fresh: bool = False
    same: bool = False

    def rows(self, real: int) -> int:
        """How many rows it has, of a train split of `real` rows."""
        return round((self.skip + self.amount) * real) - round(self.skip * real)


@dataclass(frozen=True)
class Source:
    """One line of a regime's table: where rows come from at iteration n, and how many.

    Attributes:
        origin: "real" (the train split); "fresh" (the reserve); "previous" (the model of iteration n-1); "all" (every
            model before n).
        amount: multiples of the real train rows: a number; "iteration" for n; or a schedule, one number per iteration
            from 2 on, whose last value repeats.
        last: of "all", how many models at most, the newest ones; None for every one.
        by_age: of "all", amounts by the age of a part in iterations, from 1 on, in place of `amount`; the last value
            repeats.
        weight: of each row in the loss, relative to those of other lines.
        same: whether a fraction of a data set is the same rows at every iteration.
        filter: how its rows are chosen; None for all of them, or a fraction drawn.
    """

    origin: str
    amount: float | str | tuple[float, ...] = 1.0
    last: int | None = None
    by_age: tuple[float, ...] | None = None
    weight: float = 1.0
    same: bool = False
    filter: Choice | None = None

    @property
    def real(self) -> bool:
        """Whether its rows are real, or it never takes any."""
        if self.origin in ("real", "fresh"):
            return True
        amounts = self.by_age or (self.amount if isinstance(self.amount, tuple) else (self.amount,))
        return all(amount == 0 for amount in amounts)

    def amount_at(self, iteration: int, age: int = 1) -> float:
        """The amount of each of its data sets at `iteration` (2 or later), in multiples of the real train rows.

        Args:
            iteration: which trains on them.
            age: iterations since they were sampled.
        """
        if self.by_age is not None:
            return float(self.by_age[min(age, len(self.by_age)) - 1])
        if self.amount == "iteration":
            return float(iteration)
        if isinstance(self.amount, tuple):
            return float(self.amount[min(iteration - 2, len(self.amount) - 1)])
        return float(self.amount)

    def ages(self, iteration: int) -> range:
        """The ages of the models that it takes rows from at `iteration`, the oldest first."""
        if self.origin != "all":
            return range(1, 2)
        oldest = iteration - 1 if self.last is None else min(self.last, iteration - 1)
        return range(oldest, 0, -1)

    def parts(self, amount: float) -> int:
        """How many data sets of one model an amount takes rows from."""
        return pieces(amount) if self.filter is None else self.filter.parts(amount)

    def pieces(self, iteration: int) -> int:
        """How many data sets it takes rows from at `iteration`; without a loop over them."""
        ages = len(self.ages(iteration))
        if self.by_age is None:
            count = self.parts(self.amount_at(iteration))
            return min(count, 1) if self.origin == "fresh" else count * ages
        listed = [self.parts(amount) for amount in self.by_age[:ages]]
        return sum(listed) + listed[-1] * (ages - len(listed))

    @property
    def largest(self) -> float:
        """The largest number that it names as an amount."""
        amounts = self.by_age or (self.amount if isinstance(self.amount, tuple) else (self.amount,))
        return max(0.0 if isinstance(amount, str) else float(amount) for amount in amounts)

    def taken_before(self, iteration: int) -> float:
        """What it has taken at the iterations from 2 to `iteration` - 1, in multiples of the real train rows."""
        count = max(0, iteration - 2)
        if self.amount == "iteration":
            return (iteration - 1) * iteration / 2 - 1 if count else 0.0
        amounts = self.amount if isinstance(self.amount, tuple) else (float(self.amount),)
        return sum(amounts[:count]) + amounts[-1] * max(0, count - len(amounts))


@dataclass(frozen=True)
class Regime:
    """A named rule for every iteration from the second on; the first is always trained on the real rows.

    Attributes:
        name: as it stands in the config, the tables and the figures.
        sources: the lines of its table, in the order in which rows are concatenated.
        budget: rows of the whole training set in multiples of the real train rows; more are subsampled, by seed,
            uniformly over all rows. None for no limit.
        colour, marker: of its lines in all figures, if it is built in; others get what is left.
    """

    name: str
    sources: tuple[Source, ...]
    budget: float | None = None
    colour: str = ""
    marker: str = ""

    @property
    def control(self) -> bool:
        """Whether its models never see a synthetic row: what changes under it, synthetic data have not caused."""
        return all(source.real for source in self.sources)

    @property
    def weighted(self) -> bool:
        """Whether rows of some lines count more in the loss than those of others."""
        return len({source.weight for source in self.sources}) > 1

    def reserve(self, iterations: int) -> float:
        """The fresh rows that a chain takes in all, in multiples of the real train rows."""
        return self.fresh_before(iterations + 1)

    def fresh_before(self, iteration: int) -> float:
        """The fresh rows that the iterations before `iteration` take, in multiples of the real train rows."""
        return sum(source.taken_before(iteration) for source in self.sources if source.origin == "fresh")


@dataclass(frozen=True)
class TrainingSet:
    """What one model is trained on: takes in the order of concatenation, and a budget (see `Regime.budget`)."""

    takes: tuple[Take, ...]
    budget: float | None = None

    def rows(self, real: int) -> int:
        """How many rows it has, of a train split of `real` rows."""
        alike = Counter(map(attrgetter("skip", "amount"), self.takes))
        taken = sum(count * Take(REAL, 0, amount, skip).rows(real) for (skip, amount), count in alike.items())
        return taken if self.budget is None else min(taken, round(self.budget * real))


# In the order in which figures and tables show them. Okabe and Ito's colours, Paul Tol's wine, and an indigo: the three
# of the paper are far apart in lightness, too (0, 46 and 71 of 100), the controls lie between them (58, 32 and 18), and
# every regime has a marker of its own.
BUILT_IN: Mapping[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime("replace", (Source("previous"),), colour="#000000", marker="o"),
        Regime("accumulate", (Source("real"), Source("all")), colour="#0072B2", marker="s"),
        # The paper's control for the size of the data (appendix C): all synthetic, but n times the rows at iteration n.
        Regime("replace-multiple", (Source("previous", "iteration"),), colour="#E69F00", marker="^"),
        # The control for the number of gradient steps: the pool of accumulate, cut to the size of the real data.
        Regime("accumulate-subsample", (Source("real"), Source("all")), budget=1.0, colour="#56B4E9", marker="D"),
        # Controls without a synthetic row: the noise of training alone, and accumulate's number of rows.
        Regime("real", (Source("real"),), colour="#009E73", marker="P"),
        Regime("real-multiple", (Source("real", "iteration"),), colour="#882255", marker="v"),
        # The drift of training alone on rows that are never seen twice; it needs a reserve.
        Regime("all-fresh", (Source("fresh"),), colour="#2A1C70", marker="p"),
    )
}


def training_set(regime: Regime, iteration: int) -> TrainingSet:
    """The composition of the training set of `iteration` (1-based) under `regime`.

    Whole multiples become whole parts, part 0 first; a remainder is drawn from one more part. Of the real rows, which
    are one data set, whole multiples are repetitions. Fresh rows are one take, that of the reserve's next rows. Weights
    that are all alike are 1.

    Raises:
        ValueError: `iteration` is below 1.
    """
    if iteration < 1:
        raise ValueError(f"iterations count from 1, not {iteration}")
    if iteration == 1:
        return TrainingSet((Take(REAL),))
    takes = tuple(chain.from_iterable(_takes(regime, iteration)))
    if any(source.weight != 1 for source in regime.sources) and len({take.weight for take in takes}) == 1:
        takes = tuple(replace(take, weight=1.0) for take in takes)
    return TrainingSet(takes, regime.budget)


def _takes(regime: Regime, iteration: int) -> Iterator[Sequence[Take]]:
    """The takes of a training set, in pieces: under accumulate, n iterations have n²/2 takes, which are n."""
    skip = regime.fresh_before(iteration)
    for source in regime.sources:
        if source.origin == "fresh":
            amount = source.amount_at(iteration)
            if amount > _ROUNDING:
                # Rounded, so that what regimes do alike has one name.
                yield [Take(REAL, amount=amount, skip=round(skip, 9), weight=source.weight, fresh=True)]
            skip += amount
            continue
        if source.origin == "real":
            amounts = _pieces(source.amount_at(iteration))
            yield [_of_real(amount, source.weight, source.same and amount < 1) for amount in amounts]
            continue
        ages = source.ages(iteration)
        if source.origin == "all" and source.by_age is None and source.filter is None:
            parts = list(_pieces(source.amount_at(iteration)))
            if len(parts) == 1:
                found = _of_models(iteration - 1, parts[0], source.weight, source.same and parts[0] < 1)
                yield found[iteration - 1 - len(ages) : iteration - 1]
                continue
        for age in ages:
            origin, amount = iteration - age, source.amount_at(iteration, age)
            if source.filter is not None:
                count = source.parts(amount)
                yield [
                    Take(origin, part, amount / count, weight=source.weight, filter=source.filter)
                    for part in range(count)
                ]
                continue
            yield [
                Take(origin, part, piece, weight=source.weight, same=source.same and piece < 1)
                for part, piece in enumerate(_pieces(amount))
            ]


@lru_cache(maxsize=64)
def _of_real(amount: float, weight: float, same: bool) -> Take:
    return Take(REAL, 0, amount, weight=weight, same=same)


def _of_models(count: int, amount: float, weight: float, same: bool) -> list[Take]:
    """An amount of the parts 0 of at least the first `count` models."""
    known = _known(amount, weight, same)
    known += [Take(origin, 0, amount, weight=weight, same=same) for origin in range(len(known) + 1, count + 1)]
    return known


@lru_cache(maxsize=64)
def _known(amount: float, weight: float, same: bool) -> list[Take]:
    return []


def pieces(amount: float) -> int:
    """How many data sets an amount takes rows from."""
    return math.ceil(amount - _ROUNDING)


def _pieces(amount: float) -> Iterator[float]:
    whole = math.floor(amount + _ROUNDING)
    yield from [1.0] * whole
    if amount - whole > _ROUNDING:
        yield amount - whole


def from_config(name: str, table: "models.Regime", filters: "Mapping[str, Filter] | None" = None) -> Regime:
    """A user's regime from the config, whose filters are known by name."""
    return Regime(name, tuple(_source(part, filters or {}) for part in table.parts), table.budget)


def _source(part: "models.Part", filters: "Mapping[str, Filter]") -> Source:
    choice = None
    if part.filter is not None:
        of = filters[part.filter]
        if part.random:  # twins of filters with as many candidates are one
            choice = Choice(part.filter, "highest", of.each, of.candidates, 1.0, 0.0, random=True)
        else:
            choice = Choice(part.filter, of.keep, of.each, of.candidates, of.beta, of.noise, threshold=of.threshold)
    return Source(
        part.origin,
        tuple(part.amount) if isinstance(part.amount, list) else part.amount,
        part.last,
        None if part.by_age is None else tuple(part.by_age),
        part.weight,
        part.rows == "same",
        choice,
    )
