"""Estimates over independent seeds, with 95% confidence intervals and p-values."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtr, stdtr, stdtrit  # scipy.stats has the same, and takes ten times as long to import

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A location over seeds and its confidence interval; NaN where unknown.

    Attributes:
        value: the mean, or the median of a quantity without a mean.
        low, high: ends of the 95% interval; NaN where there are too few seeds for one.
        p: two-sided p-value of the location being zero.
        seeds: how many values it rests on.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int

    def within(self, margin: float) -> bool:
        """Whether the interval lies within ± `margin`: two one-sided tests at 2.5% each (Schuirmann 1987)."""
        return -margin < self.low and self.high < margin


UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan, 0)


def exact(value: float, seeds: int) -> Estimate:
    """A value that is known; `seeds` have been simulated besides."""
    return Estimate(value, value, value, float(value == 0), seeds)


def mean(values: np.ndarray) -> Estimate:
    """Mean over seeds with Student's t; NaN values are left out, and one seed has no interval."""
    kept = values[~np.isnan(values)]
    count = len(kept)
    if count == 0:
        return UNKNOWN
    value = float(kept.mean())
    if count == 1:
        return Estimate(value, math.nan, math.nan, math.nan, 1)
    deviation = float(kept.std(ddof=1))
    error = deviation / math.sqrt(count)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    p = 2 * float(stdtr(count - 1, -abs(value) / error)) if error > 0 else float(value == 0)
    return Estimate(value, value - half, value + half, p, count)


def median(values: np.ndarray) -> Estimate:
    """Median over seeds for quantities without a mean: interval by order statistics, p-value by the sign test.

    The interval's confidence is at least 95% whatever the distribution; below six seeds there is none.
    """
    kept = np.sort(values[~np.isnan(values)])
    count = len(kept)
    if count == 0:
        return UNKNOWN
    value = float(np.median(kept))
    # The largest k with P(Binomial(count, 1/2) < k) at most 2.5%: the k-th value from either end.
    k = int(np.searchsorted(bdtr(np.arange(count), count, 0.5), (1 - CONFIDENCE) / 2, side="right"))
    low, high = (float(kept[k - 1]), float(kept[count - k])) if k else (math.nan, math.nan)
    above, below = int((kept > 0).sum()), int((kept < 0).sum())
    p = min(1.0, 2 * float(bdtr(min(above, below), above + below, 0.5))) if above + below else 1.0
    return Estimate(value, low, high, p, count)


def slope(iterations: pd.Series, values: pd.Series) -> float:
    """Least-squares slope per iteration; NaN values are left out, and fewer than two iterations have no slope (NaN)."""
    kept = values.notna()
    x, y = iterations[kept].to_numpy(float), values[kept].to_numpy(float)
    if len(set(x)) < 2:
        return math.nan
    x = x - x.mean()
    return float(np.dot(x, y) / np.dot(x, x))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): rejecting those below 5% errs anywhere in at most 5% of studies.

    NaN stands for no test and stays NaN.
    """
    tests = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, running = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(sorted(tests, key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(tests) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
