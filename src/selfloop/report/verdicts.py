"""Does a loop collapse? The rule behind the page's verdicts: a pure function of tidy rows."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from selfloop.analysis.trends import mean_interval, slopes

Word = Literal["bounded", "rising", "collapsed", "undecided", "no verdict"]

NOTABLE = 0.10  # a rise by less than this share of the first model's value is not notable
USELESS = 1.00  # a rise by this share, a doubling, is a collapse
LEVELLING = 6  # iterations without which no chain counts as levelled off

RULE = (
    "Within each seed, a straight line is fitted to the loss over iterations; its slope is averaged over seeds, with a "
    "95% confidence interval (Student's t). Changes are relative to the first model's loss; for a cross-entropy, which "
    "is a logarithm, the change in perplexity is used instead. Seeds are compared up to the last iteration that all of "
    "them reach; first and last are means over the seeds that have both.",
    "Bounded: the slope's interval does not lie above zero, and even at its upper end the loss would rise by less than "
    "10% over the whole chain; or the chain has levelled off: it has at least 6 iterations, rose less than half as "
    "fast over its later half as over its earlier half, and even at the upper end of its interval the later slope adds "
    "less than 10%.",
    "Collapsed: the slope's interval lies above zero, the chain has not levelled off, and the loss at the last "
    "iteration is at least twice that at the first.",
    "Rising: the slope's interval lies above zero, and the loss has neither levelled off nor doubled.",
    "Undecided: the slope's interval contains both zero and a notable rise; or a chain of 6 iterations or more rose, "
    "the interval of its later slope contains zero, and it has not levelled off. These seeds cannot tell. A chain is "
    "also undecided, rather than bounded, if a seed has a value that is not finite or ends before the others: it may "
    "have diverged.",
    "No verdict: one seed gives no interval, and one iteration no slope.",
)


@dataclass(frozen=True)
class Trend:
    """How one quantity moves over the iterations of one model and regime; NaN where unknown.

    Attributes:
        seeds: those with a finite value at two or more iterations.
        iterations: the last iteration that all seeds reach.
        broken: seeds with a value that is not finite, or that end before others.
        asked: seeds with any value.
        first, last: means at iteration 1 and at the last, over the seeds that are finite at both.
        slope, low, high: the mean over seeds of the slopes per iteration, and its 95% confidence interval.
        early, late: mean slopes over the earlier and the later half of the iterations.
        late_low, late_high: the later slope's interval.
        not_finite: number of values left out.
        logarithmic: the quantity is a logarithm, in nats.
    """

    seeds: int
    iterations: int
    broken: int
    asked: int
    first: float
    last: float
    slope: float
    low: float
    high: float
    early: float
    late: float
    late_low: float
    late_high: float
    not_finite: int
    logarithmic: bool

    def relative(self, change: float) -> float:
        """A change relative to the first model's value, or to its exponential if it is a logarithm."""
        if self.logarithmic:
            return math.expm1(min(change, 700.0))
        return change / self.first if self.first > 0 else math.nan


@dataclass(frozen=True)
class Verdict:
    """A word of the rule, and the reason in one sentence."""

    word: Word
    reason: str


def trend(rows: pd.DataFrame, logarithmic: bool) -> Trend:
    """The trend of one chain of experiments over its seeds.

    Args:
        rows: columns seed, iteration, value; one value per seed and iteration. Values that are not finite are left out,
            and those after the last iteration that all seeds reach.
        logarithmic: whether the values are logarithms, in nats.
    """
    is_finite = np.isfinite(rows["value"].to_numpy(float))
    reach = rows.groupby("seed")["iteration"].max()
    last = int(reach.min())
    broken = {*rows["seed"][~is_finite], *reach.index[reach < reach.max()]}
    finite = rows[is_finite & (rows["iteration"] <= last)]
    ends = finite[finite["iteration"].isin([1, last])]
    ends = ends[ends.groupby("seed")["iteration"].transform("nunique") == len({1, last})]
    middle = (last + 1) // 2
    table = finite.pivot(index="seed", columns="iteration", values="value")
    each = slopes(table)
    late = mean_interval(slopes(table.loc[:, table.columns >= middle]))
    mean, low, high = mean_interval(each)
    return Trend(
        seeds=int(each.notna().sum()) if last > 1 else int(finite["seed"].nunique()),
        iterations=last,
        broken=len(broken),
        asked=len(reach),
        first=_mean(ends, 1),
        last=_mean(ends, last),
        slope=mean,
        low=low,
        high=high,
        early=mean_interval(slopes(table.loc[:, table.columns <= middle]))[0],
        late=late[0],
        late_low=late[1],
        late_high=late[2],
        not_finite=int((~is_finite).sum()),
        logarithmic=logarithmic,
    )


def verdict(of: Trend) -> Verdict:
    """The rule's word for a trend."""
    found = _of_slopes(of)
    if found.word == "bounded" and of.broken:
        reason = f"{of.broken} of {of.asked} seeds diverged or ended early; without them: {found.reason}"
        return Verdict("undecided", reason)
    return found


def _of_slopes(of: Trend) -> Verdict:
    span = of.iterations - 1
    if of.iterations < 2:
        return Verdict("no verdict", "One iteration has no slope.")
    if math.isnan(of.first) or math.isnan(of.last):
        return Verdict("no verdict", f"No seed is finite at both iteration 1 and iteration {of.iterations}.")
    if of.seeds < 2:
        moved = "rose" if of.last > of.first else "fell" if of.last < of.first else "stayed"
        return Verdict("no verdict", f"One seed has no confidence interval; its loss {moved}{_change(of)}.")
    if math.isnan(of.relative(0.0)):
        return Verdict("no verdict", "The first model's value is not positive, so changes cannot be relative to it.")
    if of.low <= 0:
        most = of.relative(of.high * span)
        if most < NOTABLE:
            moved = "Significant decrease" if of.high < 0 else "No significant increase"
            return Verdict("bounded", f"{moved}; at most {most:+.0%} over {span} steps.")
        return Verdict("undecided", f"From {of.relative(of.low * span):+.0%} to {most:+.0%} over {span} steps.")
    if _levelled(of):
        return Verdict("bounded", f"It rose{_change(of)} and has levelled off.")
    if of.iterations >= LEVELLING and of.late_low <= 0:
        return Verdict("undecided", f"It rose{_change(of)}; these seeds cannot tell whether it still rises.")
    if of.relative(of.last - of.first) >= USELESS:
        return Verdict("collapsed", f"Significant increase{_change(of, 'of')}.")
    return Verdict("rising", f"Significant increase{_change(of, 'of')}.")


def _levelled(of: Trend) -> bool:
    later = of.iterations - (of.iterations + 1) // 2
    slows = of.late < of.early / 2
    return of.iterations >= LEVELLING and slows and of.relative(of.late_high * later) < NOTABLE


def _change(of: Trend, word: str = "by") -> str:
    change = of.relative(of.last - of.first)
    if math.isnan(change):
        return ""
    if change >= 1.5:
        return f" to {change + 1:.1f} times the first model's" + (" perplexity" if of.logarithmic else "")
    return f" {word} {abs(change):.0%}" + (" in perplexity" if of.logarithmic else "")


def _mean(rows: pd.DataFrame, iteration: int) -> float:
    return float(rows["value"][rows["iteration"] == iteration].mean())
