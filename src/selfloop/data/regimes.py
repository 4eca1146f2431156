"""What the next model learns from: a regime is a short table of parts, not code.

This module is pure: no torch, no files. The Snakefile asks it, while it parses, which parts the training set of
iteration n is made of; everything else (paths, jobs, shared histories) follows from the answer.

Terms: iteration 1 is trained on the real rows. The model of iteration m then samples *parts*, data sets of as many rows
as the real train split; part 0 is the one most regimes use, further parts are independent samples of the same model.
An *amount* is a multiple of the real train rows, so that a regime means the same for every data set.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfloop.config import models

REAL = 0  # the "iteration" that the real data come from


@dataclass(frozen=True)
class Take:
    """Rows that a training set takes from one data set.

    Attributes:
        iteration: whose model sampled the rows; `REAL` (0) for the real train split.
        part: which of that model's parts (0 for real rows, of which there is one data set).
        amount: rows, as a fraction (0, 1] of the data set they come from; below 1 they are drawn by seed.
        skip: rows left out before the first one, in the same unit; this is how fresh real rows are named.
        weight: how often each row counts in the loss, relative to the others.
        filter: the name of a verifier that decides which rows pass, or None.
    """

    iteration: int
    part: int = 0
    amount: float = 1.0
    skip: float = 0.0
    weight: float = 1.0
    filter: str | None = None


@dataclass(frozen=True)
class Source:
    """One line of a regime's table: where rows come from at iteration n, and how many.

    Attributes:
        origin: "real"; "previous" (the model of iteration n-1); "all" (every model before n).
        amount: multiples of the real train rows: a number; "iteration" for n; or a schedule, one number per iteration
            from 2 on, whose last value repeats.
    """

    origin: str
    amount: float | str | tuple[float, ...] = 1.0

    def amount_at(self, iteration: int) -> float:
        """The amount at `iteration` (2 or later), in multiples of the real train rows."""
        if self.amount == "iteration":
            return float(iteration)
        if isinstance(self.amount, tuple):
            return float(self.amount[min(iteration - 2, len(self.amount) - 1)])
        return float(self.amount)


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
        return all(source.origin == "real" for source in self.sources)


@dataclass(frozen=True)
class TrainingSet:
    """What one model is trained on: takes in the order of concatenation, and a budget (see `Regime.budget`)."""

    takes: tuple[Take, ...]
    budget: float | None = None

    def rows(self, real: int) -> int:
        """How many rows it has, of data sets of `real` rows each."""
        taken = sum(min(round(take.amount * real), real - round(take.skip * real)) for take in self.takes)
        return taken if self.budget is None else min(taken, round(self.budget * real))


# In the order in which figures and tables show them. Okabe and Ito's colours, and Paul Tol's wine: the three of the
# paper are far apart in lightness, too (0, 46 and 71 of 100), the two controls lie between them (58 and 32), and every
# regime has a marker of its own.
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
    )
}


def training_set(regime: Regime, iteration: int) -> TrainingSet:
    """The composition of the training set of `iteration` (1-based) under `regime`.

    Whole multiples become whole parts, part 0 first; a remainder is drawn from one more part. Of the real rows, which
    are one data set, whole multiples are repetitions.

    Raises:
        ValueError: `iteration` is below 1.
    """
    if iteration < 1:
        raise ValueError(f"iterations count from 1, not {iteration}")
    if iteration == 1:
        return TrainingSet((Take(REAL),))
    takes: list[Take] = []
    for source in regime.sources:
        amount = source.amount_at(iteration)
        if source.origin == "real":
            takes += _pieces(REAL, amount)
        elif source.origin == "previous":
            takes += _pieces(iteration - 1, amount)
        else:
            for earlier in range(1, iteration):
                takes += _pieces(earlier, amount)
    return TrainingSet(tuple(takes), regime.budget)


def _pieces(iteration: int, amount: float) -> list[Take]:
    whole = math.floor(amount + 1e-9)
    takes = [Take(iteration, 0 if iteration == REAL else part) for part in range(whole)]
    if amount - whole > 1e-9:
        takes.append(Take(iteration, 0 if iteration == REAL else whole, amount=amount - whole))
    return takes


def from_config(name: str, table: "models.Regime") -> Regime:
    """A user's regime from the config."""
    sources = [
        Source(part.origin, tuple(part.amount) if isinstance(part.amount, list) else part.amount)
        for part in table.parts
    ]
    return Regime(name, tuple(sources), table.budget)
