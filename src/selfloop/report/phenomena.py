"""Which of the phenomena that are all called collapse a loop shows: the rule, a pure function of changes.

They are four, which the paper's Discussion tells apart: the test error blows up; samples collapse to a mode; they
collapse to uniformity; errors grow from iteration to iteration.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selfloop.report.verdicts import FEWEST_SEEDS, LEVEL
from selfloop.statistics.effect import NOTABLE, Effect
from selfloop.statistics.estimates import UNKNOWN, Estimate, holm

Phenomenon = Literal["blow-up", "modal collapse", "uniformity", "carried errors"]
PHENOMENA: tuple[Phenomenon, ...] = ("blow-up", "modal collapse", "uniformity", "carried errors")
Word = Literal[
    "blows up",
    "modal collapse",
    "loses variety",
    "towards uniformity",
    "spreads out",
    "nearer to real",
    "amplified",
    "carried on",
    "averaged out",
    "no",
    "undecided",
    "no word",
]
LARGE = math.log(1 / 0.9)  # of the logarithm of the spread: 10%
EVEN = 0.1  # κ is near 1 within this
LIMIT = 0.05  # of the way from a floor or ceiling to real data's value; a measure that is nearer is at its limit

RULE = (
    "The phenomena. Each measure of the samples is compared between iterations 1 and N, paired by seed; the spread as "
    "a factor. As above, a word needs three seeds, and Holm's correction is made for all words of a column.",
    "Blow-up: E at N is surely above 5%, and its change from half the chain to N surely above 0.",
    "Modal collapse: the spread surely falls by more than 10%, and the recall of real data surely falls by any amount. "
    "Loses variety: the spread surely falls, and the rest is not sure.",
    "Towards uniformity: the spread surely rises by more than 10%, the other measures of flat samples surely rise, and "
    "samples are surely less like real data. Spreads out: the spread surely rises, and the rest is not sure.",
    "Of text, the spread is the entropy of samples, as exp(H); flat are distinct 2-grams; recall and likeness are the "
    "share of real 3-grams met. Of images: the geometric mean of variances; power in high frequencies; recall and "
    "precision. Of molecules: the RMSD of two samples of a molecule; the entropy of torsion angles; real conformations "
    "covered. Of linear regression: the mean square of the signal. Of a Gaussian and of densities: the geometric mean "
    "of variances; the share of rows in the real tails. Of words and categories: the entropy, as exp(H); Gini-Simpson "
    "diversity; the share of real types met; the overlap with real frequencies. Of logistic regression: the entropy of "
    "labels, as exp(H); the share of real labels that have a probability of 5%; the probability of real labels.",
    "Nearer to real: the spread surely changes towards that of real data, and recall surely rises.",
    "Carried errors: κ is the share of an iteration's error that the next one has, too, its mean over iterations "
    "weighted by the square of the error. "
    f"Amplified: surely above 1; carried on: its interval lies within 1 ± {EVEN:g}; averaged out: surely below 1. "
    "Under real, no model learns from another, and κ is what their errors have in common all the same.",
    "No: the interval excludes it. No word: also where a measure lies at its floor or ceiling, so that it could not "
    "show a change.",
)


@dataclass(frozen=True)
class Change:
    """A measure from iteration 1 to N.

    Attributes:
        by: the change, paired by seed; of the spread, of its logarithm.
        first, last, real: means over seeds, of held-out real data the last one.
        limit: "floor" or "ceiling", where the measure lies at iteration 1; empty if it can fall and rise.
    """

    by: Estimate
    first: float
    last: float
    real: float
    limit: str = ""


UNMEASURED = Change(UNKNOWN, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Observed:
    """What is known of a model under a regime.

    Attributes:
        effect: of the headline loss; None where it is not measured.
        spread, recall, flat, like: changes of what `data.profile.Profile` names.
        carried: κ - 1, over seeds.
        inadequate: why its model 1 has not learnt enough for a loop to lose; empty if it has.
    """

    effect: Effect | None
    spread: Change = UNMEASURED
    recall: Change | None = None
    flat: tuple[Change, ...] = ()
    like: Change | None = None
    carried: Estimate = UNKNOWN
    inadequate: str = ""


@dataclass(frozen=True)
class Decision:
    """A cell of the grid.

    Attributes:
        phenomenon: which of the four.
        word: what is said of it.
        size: what it rests on, with its interval: E at N, the change of the logarithm of the spread, or κ.
        p: p-value after Holm's correction; NaN where there is no test.
        reason: why there is no word or no other one; empty where the numbers say it.
    """

    phenomenon: Phenomenon
    word: Word
    size: Estimate
    p: float = math.nan
    reason: str = ""


def limit_of(value: float, real: float, floor: float | None, ceiling: float | None) -> str:
    """Whether a value lies at a limit: "floor", "ceiling" or an empty string."""
    for name, end in (("floor", floor), ("ceiling", ceiling)):
        if end is not None and abs(value - end) <= LIMIT * abs(real - end):
            return name
    return ""


def decide(observed: Sequence[Observed]) -> list[list[Decision]]:
    """The four decisions on every model and regime of a study; each phenomenon's are corrected for their number."""
    totals = holm([_p(of, of.effect.total) if of.effect else math.nan for of in observed])
    spreads = holm([_p(of, of.spread.by) for of in observed])
    slopes = holm([_p(of, of.carried) for of in observed])
    each = zip(observed, totals, spreads, slopes, strict=True)
    return [[_blow_up(of, a), _modal(of, b), _uniform(of, b), _carried(of, c)] for of, a, b, c in each]


def _p(of: Observed, size: Estimate) -> float:
    """The p-value that is corrected; NaN where there is no word."""
    return math.nan if of.inadequate or size.seeds < FEWEST_SEEDS else size.p


def _missing(of: Observed, phenomenon: Phenomenon, size: Estimate) -> Decision | None:
    """No word where it has not been measured, or in too few seeds, or where model 1 has not learnt enough."""
    if of.inadequate:
        return Decision(phenomenon, "no word", size, reason=of.inadequate)
    if size.seeds == 0:
        return Decision(phenomenon, "no word", size, reason="Not measured.")
    if size.seeds < FEWEST_SEEDS:
        return Decision(phenomenon, "no word", size, reason=f"{size.seeds} of {FEWEST_SEEDS} seeds that a word needs.")
    return None


def _blow_up(of: Observed, p: float) -> Decision:
    size = of.effect.total if of.effect else UNKNOWN
    missing = _missing(of, "blow-up", size)
    if missing or of.effect is None:
        return missing or Decision("blow-up", "no word", size)
    late = of.effect.late
    if late.seeds == 0:
        return Decision("blow-up", "no word", size, p, "Two iterations: nothing is known of late changes.")
    if p < LEVEL and size.low > NOTABLE and late.low > 0:
        return Decision("blow-up", "blows up", size, p)
    if size.high < NOTABLE or late.high < 0 or late.within(NOTABLE):
        return Decision("blow-up", "no", size, p)
    return Decision("blow-up", "undecided", size, p)


def _modal(of: Observed, p: float) -> Decision:
    name: Phenomenon = "modal collapse"
    size = of.spread.by
    if missing := _missing(of, name, size):
        return missing
    if of.spread.limit == "floor":
        return Decision(name, "no word", size, p, "The spread is at its floor in iteration 1.")
    if p < LEVEL and size.value < 0:
        if _nearer(of):
            return Decision(name, "nearer to real", size, p)
        if size.high < -LARGE and _falls(of.recall):
            return Decision(name, "modal collapse", size, p)
        return Decision(name, "loses variety", size, p, _why(size.high < -LARGE, of.recall))
    return Decision(name, "no" if size.low > -LARGE else "undecided", size, p)


def _uniform(of: Observed, p: float) -> Decision:
    name: Phenomenon = "uniformity"
    size = of.spread.by
    if missing := _missing(of, name, size):
        return missing
    if of.spread.limit == "ceiling":
        return Decision(name, "no word", size, p, "The spread is at its ceiling in iteration 1.")
    if p < LEVEL and size.value > 0:
        if _nearer(of):
            return Decision(name, "nearer to real", size, p)
        flat = all(each.by.low > 0 for each in of.flat)
        if size.low > LARGE and flat and _falls(of.like):
            return Decision(name, "towards uniformity", size, p)
        return Decision(name, "spreads out", size, p, _why(size.low > LARGE, of.like, *of.flat))
    return Decision(name, "no" if size.high < LARGE else "undecided", size, p)


def _carried(of: Observed, p: float) -> Decision:
    name: Phenomenon = "carried errors"
    size = of.carried
    kappa = Estimate(1 + size.value, 1 + size.low, 1 + size.high, size.p, size.seeds)
    if missing := _missing(of, name, kappa):
        return missing
    if size.within(EVEN):
        return Decision(name, "carried on", kappa, p)
    if p < LEVEL:
        return Decision(name, "amplified" if size.value > 0 else "averaged out", kappa, p)
    return Decision(name, "undecided", kappa, p)


def _falls(change: Change | None) -> bool:
    """Whether a measure surely falls, where there is such a thing."""
    return change is None or change.by.high < 0


def _nearer(of: Observed) -> bool:
    """Whether the spread moves towards that of real data, and recall surely rises."""
    closer = abs(of.spread.last - of.spread.real) < abs(of.spread.first - of.spread.real)
    return closer and of.recall is not None and of.recall.by.low > 0


def _why(is_large: bool, falling: Change | None, *rising: Change) -> str:
    """What is missing for the stronger word."""
    if not is_large:
        return "Not surely by more than 10%."
    if falling is not None and falling.limit == "floor":
        return "What should fall besides is at its floor in iteration 1."
    if any(each.limit == "ceiling" for each in rising):
        return "What should rise besides is at its ceiling in iteration 1."
    return "What belongs to it besides is not sure."
