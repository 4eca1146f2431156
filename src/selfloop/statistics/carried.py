"""How much of one iteration's error in frequencies the next one has, without the noise of counting them."""

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
    """The slope of log q_n/p on log q_{n-1}/p over types, weighted by p.

    Both logarithms have the sampling noise of p, and the second one that of q_{n-1}, which would draw the slope towards
    1 and towards 0. So the second one is taken twice, from two samples of each, one as the instrument of the other.

    Returns:
        kappa: the slope, more than 1 where errors grow; kappa_weight: the mean square of the earlier error without its
        noise, by which means over iterations are weighted; kappa_correlation: the correlation, less than 1 where the
        errors of the next iteration are other ones, too. NaN where no error exceeds the noise.
    """
    weights = (real[0] + real[1]) / 2
    logs, old, new = ([np.log(each) for each in pair] for pair in (real, before, after))
    both = np.mean(new, axis=0)
    products = np.zeros(3)
    for one in (0, 1):
        for half in (0, 1):
            mine, other = logs[half], logs[1 - half]
            instrument = old[1 - one] - other
            products += [
                _covariance(weights, both - mine, instrument),
                _covariance(weights, old[one] - mine, instrument),
                _covariance(weights, new[one] - mine, new[1 - one] - other),
            ]
    across, earlier, later = products / 4
    return {
        "kappa": across / earlier if earlier > 0 else float("nan"),
        "kappa_weight": max(earlier, 0.0),
        "kappa_correlation": across / (earlier * later) ** 0.5 if min(earlier, later) > 0 else float("nan"),
    }


def _covariance(weights: Floats, one: Floats, other: Floats) -> float:
    return float((weights * (one - (weights * one).sum()) * (other - (weights * other).sum())).sum())
