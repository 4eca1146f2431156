"""What theory says of a simulated scenario: its mean error where a law is known, else an approximation, and a baseline.

Light: it imports numpy and no tables.
"""

import numpy as np

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.domains.linear.theory import SUBSAMPLE, Array


def has_mean(scenario: Scenario) -> bool:
    """Whether the error has a finite mean at every iteration.

    Least squares needs T ≥ d+2 (Lemma 3), and a subsample may hold too few distinct rows, however rarely.
    """
    return scenario.ridge > 0 or (scenario.d + 2 <= scenario.T and scenario.regime != SUBSAMPLE)


def expected_error(scenario: Scenario) -> Array | None:
    """Mean error (iterations,) by the law of least squares (eqs. 3, 4, 11) or ridge; None if none is known."""
    s = scenario
    if s.regime not in theory.UPDATES or not has_mean(s):
        return None
    if s.ridge:
        return theory.ridge_error(s.regime, s.d, s.T, s.sigma2, s.ridge, s.iterations, s.covariance, s.target)
    return theory.expected_error(s.regime, s.d, s.T, s.sigma2, s.iterations, s.covariance)


def approximate_median(scenario: Scenario) -> Array | None:
    """The median error (iterations,) of accumulate-subsample: that of iteration 1, which is exact, times
    `theory.subsample_approximation`; None where there is no such approximation (other regimes, ridge, T < d + 2).
    """
    s = scenario
    if s.regime != SUBSAMPLE or s.ridge or s.d + 2 > s.T:
        return None
    first = s.sigma2 * float(np.median(theory.error_ratios(s.d, s.T)))
    return first * theory.subsample_approximation(s.d, s.T, s.iterations)


def untrained_error(scenario: Scenario) -> float:
    """The error of w = 0, ‖w*‖²_Σ."""
    return float(np.sum((scenario.target @ scenario.factor) ** 2))
