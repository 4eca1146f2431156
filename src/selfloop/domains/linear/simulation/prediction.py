"""What theory says of a simulated scenario: its mean error where a law is known, else an approximation, and a baseline.

Light: it imports numpy and no tables.
"""

import numpy as np

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.domains.linear.theory import Array
from selfloop.simulation import law


def has_mean(scenario: Scenario) -> bool:
    """Whether the error has a finite mean at every iteration.

    Least squares needs T ≥ d+2 (Lemma 3), and rows that are drawn may be too few distinct ones, however rarely.
    """
    return scenario.ridge > 0 or (scenario.d + 2 <= scenario.T and scenario.whole)


def growth(scenario: Scenario) -> Array:
    """c (iterations,): the expected error over that of iteration 1; of many rows, where not all parts are whole."""
    if scenario.sets is None:
        return theory.growth(scenario.regime, scenario.iterations)
    return law.law(scenario.sets, law.Fit(scenario.T, known=True)).growth


def expected_error(scenario: Scenario) -> Array | None:
    """Mean error (iterations,) by the law of least squares (eqs. 3, 4, 11) or ridge; None if none is known."""
    s = scenario
    if not s.whole or not has_mean(s) or (s.ridge and s.sets is not None):
        return None
    if s.ridge:
        return theory.ridge_error(s.regime, s.d, s.T, s.sigma2, s.ridge, s.iterations, s.covariance, s.target)
    return theory.first_error(s.d, s.T, s.sigma2) * growth(s)


def approximate_median(scenario: Scenario) -> Array | None:
    """The median error (iterations,) where parts are not whole: that of iteration 1, which is exact, times a growth.

    Of accumulate-subsample that is `theory.subsample_approximation`; of others the growth for many rows. None where
    there is no such approximation (whole parts, ridge, T < d + 2, weights with a budget).
    """
    s = scenario
    if s.whole or s.ridge or s.d + 2 > s.T or (s.sets is not None and not law.has_law(s.sets)):
        return None
    first = s.sigma2 * float(np.median(theory.error_ratios(s.d, s.T)))
    return first * (theory.subsample_approximation(s.d, s.T, s.iterations) if s.sets is None else growth(s))


def untrained_error(scenario: Scenario) -> float:
    """The error of w = 0, ‖w*‖²_Σ."""
    return float(np.sum((scenario.target @ scenario.factor) ** 2))
