"""How much of what model 1 had learnt its loop has lost, paired by seed.

E_n = (L_n - L_1) / (L_0 - L_1): L_n is the test loss of iteration n, and L_0 that of a predictor that learns nothing.
E = 0 is model 1 itself and E = 1 a model as useless as no model. The scale has no unit and knows no entropy floor, so
domains compare. The denominator is its mean over seeds: a seed whose first model happens to be poor would otherwise
count for more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from selfloop.statistics import estimates
from selfloop.statistics.estimates import UNKNOWN, Estimate
from selfloop.statistics.growth_law import Law, exact_law, growth_law

Located = Callable[[np.ndarray], Estimate]
NOTABLE = 0.05  # of what model 1 had learnt; less counts as no change


@dataclass(frozen=True)
class Effect:
    """What the loop does to one model under one regime up to one iteration, the horizon.

    Attributes:
        horizon: the iteration N at which it is judged.
        asked, broken: seeds that have any value, and those of them that are not finite at some iteration up to N or end
            before it.
        learned: L_0 - L_1, mean over seeds, in the loss's unit.
        first, last: mean losses at iterations 1 and N.
        total: E_N.
        late: E_N - E_h, with h half of N rounded up; unknown below three iterations, where that is the step from real
            to synthetic data.
        flat_since: the first iteration from 2 on from which every change up to N lies within ± NOTABLE; None without.
        law: the law of the late growth, from eight iterations on.
    """

    horizon: int
    asked: int
    broken: int
    learned: float
    first: float
    last: float
    total: Estimate
    late: Estimate
    flat_since: int | None
    law: Law | None


def half_of(horizon: int) -> int:
    """The iteration from which on changes are late."""
    return math.ceil(horizon / 2)


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Losses by seed (index) and iteration (columns 1, 2, …) of rows of one model and regime."""
    table = rows.pivot(index="seed", columns="iteration", values="value")
    table = table.reindex(columns=range(1, int(rows["iteration"].max()) + 1))
    return table.where(np.isfinite(table))


def lost(losses: np.ndarray, baseline: float, has_mean: bool = True) -> np.ndarray:
    """E_n of every seed, (seeds, iterations); NaN where model 1 is no better than the baseline."""
    learned = baseline - (estimates.mean if has_mean else estimates.median)(losses[:, 0]).value
    return (losses - losses[:, :1]) / learned if learned > 0 else np.full_like(losses, np.nan)


def effect(losses: np.ndarray, baseline: float, has_mean: bool = True) -> Effect:
    """The effect of a loop.

    Args:
        losses: (seeds, N) from iteration 1 to the horizon N; NaN where a value is missing or not finite.
        baseline: L_0.
        has_mean: whether the losses have a finite mean; medians are taken of those that have none.
    """
    located = estimates.mean if has_mean else estimates.median
    whole = ~np.isnan(losses).any(axis=1)
    kept = losses[whole]
    if not len(kept):
        nothing = (math.nan, math.nan, math.nan)
        return Effect(losses.shape[1], len(losses), len(losses), *nothing, UNKNOWN, UNKNOWN, None, None)
    law = growth_law(kept) if has_mean else None
    return _effect(kept, baseline, located, len(losses), int((~whole).sum()), law)


def exact_effect(losses: np.ndarray, baseline: float, seeds: int) -> Effect:
    """The effect of a loop whose mean losses (N,) are known; `seeds` have simulated it."""

    def located(values: np.ndarray) -> Estimate:
        return estimates.exact(float(values[0]), seeds)

    return _effect(losses[None], baseline, located, seeds, 0, exact_law(losses))


def _effect(kept: np.ndarray, baseline: float, located: Located, asked: int, broken: int, law: Law | None) -> Effect:
    horizon = kept.shape[1]
    first, last = located(kept[:, 0]).value, located(kept[:, -1]).value
    shares = lost(kept, baseline, located is not estimates.median)
    half = half_of(horizon)
    return Effect(
        horizon=horizon,
        asked=asked,
        broken=broken,
        learned=baseline - first,
        first=first,
        last=last,
        total=located(shares[:, -1]),
        late=located(shares[:, -1] - shares[:, half - 1]) if horizon >= 3 else UNKNOWN,
        flat_since=_flat_since(shares, located),
        law=law if baseline > first else None,
    )


def _flat_since(shares: np.ndarray, located: Located) -> int | None:
    since = None
    for before in range(shares.shape[1] - 1, 1, -1):  # iterations N-1, …, 2
        if not located(shares[:, -1] - shares[:, before - 1]).within(NOTABLE):
            break
        since = before
    return since
