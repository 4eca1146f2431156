"""How much of one iteration's error in frequencies the next one has."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pair = Sequence[Floats]  # distributions over types (k,), of two samples that have no row in common


def smoothed(counts: npt.NDArray[np.int64]) -> Floats:
    """The distribution of counts (k,), with half of one more of each, so that logarithms are finite."""
    raised = counts + 0.5
    shares: Floats = raised / raised.sum()
    return shares


def carried(before: Pair, after: Pair, real: Pair) -> dict[str, float]:
    """The slope of log q_n/p on log q_{n-1}/p over types, weighted by p; q are the samples themselves.

    Their sampling noise is part of the error: a model that is trained on q_{n-1} learns that, too. Were it taken out of
    the earlier error alone, the later one would still have it, and the slope would exceed 1. Only the noise of p, which
    both logarithms have, is taken out, by another half of the real rows in each.

    Returns:
        kappa: the slope, more than 1 where errors grow; kappa_weight: the mean square of the earlier error, by which
        means over iterations are weighted; kappa_correlation: the correlation, less than 1 where the errors of the next
        iteration are other ones, too. NaN where no error exceeds the noise of p.
    """
    weights = (real[0] + real[1]) / 2
    logs = [np.log(half) for half in real]
    old, new = (np.log((pair[0] + pair[1]) / 2) for pair in (before, after))
    products = np.zeros(3)
    for mine, other in (logs, logs[::-1]):
        for place, (one, two) in enumerate(((new, old), (old, old), (new, new))):
            products[place] += _covariance(weights, one - mine, two - other) / 2
    across, earlier, later = map(float, products)
    return {
        "kappa": across / earlier if earlier > 0 else float("nan"),
        "kappa_weight": max(earlier, 0.0),
        "kappa_correlation": across / (earlier * later) ** 0.5 if min(earlier, later) > 0 else float("nan"),
    }


def _covariance(weights: Floats, one: Floats, other: Floats) -> float:
    return float((weights * (one - (weights * one).sum()) * (other - (weights * other).sum())).sum())
