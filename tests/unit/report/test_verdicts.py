"""The rule for "bounded", "rising" and "collapsed", on chains whose verdict can be worked out by hand."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from selfloop.analysis.trends import slope, slopes
from selfloop.report.verdicts import Trend, trend, verdict

SIMULATED = np.arange(1, 101)


def rows(*seeds: list[float]) -> pd.DataFrame:
    """One list of values per seed, from iteration 1 on."""
    return pd.DataFrame(
        [
            {"seed": seed, "iteration": t, "value": value}
            for seed, values in enumerate(seeds)
            for t, value in enumerate(values, start=1)
        ]
    )


def word(*seeds: list[float], logarithmic: bool = False) -> str:
    return verdict(trend(rows(*seeds), logarithmic)).word


def near(values: list[float], wiggle: float = 0.001) -> list[list[float]]:
    """Three seeds whose slopes hardly differ."""
    return [[v + k * wiggle * t for t, v in enumerate(values)] for k in (-1, 0, 1)]


def test_a_trend_is_a_least_squares_slope_with_student_s_interval() -> None:
    found = trend(rows([1.0, 2.0, 3.0], [1.0, 1.5, 2.0]), logarithmic=False)
    assert (found.seeds, found.iterations, found.first, found.last) == (2, 3, 1.0, 2.5)
    assert found.slope == pytest.approx(0.75)
    half = 12.7062 * 0.25  # t(97.5%, 1 degree of freedom) times the standard error of the mean of 1 and 0.5
    assert (found.low, found.high) == (pytest.approx(0.75 - half, abs=1e-4), pytest.approx(0.75 + half, abs=1e-4))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], "bounded"),
        ([1.0, 0.9, 0.8, 0.8], "bounded"),
        ([1.0, 1.1, 1.2, 1.3], "rising"),
        ([1.0, 1.3, 1.7, 1.99], "rising"),
        ([1.0, 1.3, 1.7, 2.01], "collapsed"),
    ],
)
def test_short_chains_are_judged_by_their_slope_and_by_a_doubling(values: list[float], expected: str) -> None:
    assert word(*near(values)) == expected


def test_seeds_are_compared_up_to_the_last_iteration_that_all_reach() -> None:
    """Else the seeds that are further would stand alone at the end, whatever they began at."""
    found = trend(rows([30.0, 30.1, 30.2, 30.3], [1.0, 1.1], [1.1, 1.2]), logarithmic=False)
    assert (found.iterations, found.first, found.last) == (2, pytest.approx(32.1 / 3), pytest.approx(32.4 / 3))
    assert (found.broken, found.asked) == (2, 3)


def test_first_and_last_are_of_the_same_seeds() -> None:
    found = trend(rows([1.0, 2.0, 3.0], [math.nan, 50.0, 60.0], [2.0, 3.0, 4.0]), logarithmic=False)
    assert (found.first, found.last) == (1.5, 3.5)


@pytest.mark.parametrize(
    "seeds",
    [
        [[1.0, 1.0, 1.0, math.inf], *[[1.0, 1.0, 1.0, 1.0]] * 3],
        [[1.0, 1.0, math.nan, math.nan], *[[1.0, 1.0, 1.0, 1.0]] * 3],
        [[1.0, 1.0, 1.0], *[[1.0, 1.0, 1.0, 1.0]] * 3],  # its next training may have failed
    ],
)
def test_a_chain_of_which_a_seed_may_have_diverged_is_not_bounded(seeds: list[list[float]]) -> None:
    found = verdict(trend(rows(*seeds), logarithmic=False))
    assert found.word == "undecided"
    assert found.reason.startswith("1 of 4 seeds diverged or ended early; without them: No significant increase")


def test_a_loss_that_fell_fell_by_a_positive_share() -> None:
    assert verdict(trend(rows([2.0, 1.5]), logarithmic=False)).reason.endswith("its loss fell by 25%.")


def test_of_a_logarithm_it_is_the_perplexity_that_doubles() -> None:
    assert word(*near([3.0, 3.2, 3.4, 3.69]), logarithmic=True) == "rising"
    assert word(*near([3.0, 3.2, 3.4, 3.70]), logarithmic=True) == "collapsed"
    assert word(*near([3.0, 3.2, 3.4, 3.70]), logarithmic=False) == "rising"


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (lambda n: n, "collapsed"),  # replace
        (lambda n: np.cumsum(1 / n**2), "bounded"),  # accumulate: it rises at every iteration, and never beyond pi²/6
        (lambda n: np.cumsum(1 / n), "collapsed"),  # replace-multiple: slowly, and without bound
        (lambda n: 1 + 0.002 * n, "rising"),  # steady, however slow
    ],
)
def test_long_chains_may_level_off(law: Callable[[np.ndarray], np.ndarray], expected: str) -> None:
    values = np.asarray(law(SIMULATED), float)
    assert word(*(list(values * scale) for scale in (0.99, 1.0, 1.01))) == expected


def test_a_chain_is_too_short_to_level_off_before_six_iterations() -> None:
    values = [1.0, 1.3, 1.31, 1.31, 1.31, 1.31]
    assert word(*near(values[:5], 1e-4)) == "rising"
    assert word(*near(values, 1e-4)) == "bounded"


def test_seeds_that_disagree_leave_it_undecided() -> None:
    assert word([1.0, 1.5, 2.0], [1.0, 1.0, 0.9], [1.0, 1.1, 1.3]) == "undecided"
    late = [[1.0, 1.5, 2.0, 2.0, 2.0 + d, 2.0 + 2 * d] for d in (-0.3, 0.0, 0.4)]
    assert word(*late) == "undecided"  # a significant increase at first; later, who knows


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        ([[1.0], [1.1]], "One iteration has no slope."),
        ([[1.0, 2.0, 3.0]], "One seed has no confidence interval; its loss rose to 3.0 times the first model's."),
        ([[1.0, 2.0, math.nan], [1.0, 2.0, math.inf]], "No seed is finite at both iteration 1 and iteration 3."),
        ([[0.0, 1.0], [0.0, 2.0]], "The first model's value is not positive, so changes cannot be relative to it."),
    ],
)
def test_too_little_data_gives_no_verdict_and_says_why(seeds: list[list[float]], reason: str) -> None:
    found = verdict(trend(rows(*seeds), logarithmic=False))
    assert (found.word, found.reason) == ("no verdict", reason)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    found = trend(rows([1.0, math.nan, 3.0], [1.0, 2.0, 3.0], [1.0, -math.inf, 3.1]), logarithmic=False)
    assert (found.not_finite, found.seeds) == (2, 3)
    assert found.slope == pytest.approx((1 + 1 + 1.05) / 3)


def test_a_change_without_a_scale_is_no_number() -> None:
    nothing = dict.fromkeys(("slope", "low", "high", "early", "late", "late_low", "late_high"), math.nan)
    found = Trend(
        seeds=2, iterations=2, broken=0, asked=2, first=-1.0, last=1.0, not_finite=0, logarithmic=False, **nothing
    )
    assert math.isnan(found.relative(1.0))


def test_slopes_of_many_rows_are_those_of_each() -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(5, 4)), columns=[1, 2, 3, 7])
    table.iloc[0, 1] = table.iloc[1, 0] = table.iloc[1, 2] = np.nan
    table.iloc[2, 1:] = np.nan  # one value has no slope
    one_by_one = [slope(pd.Series(table.columns), pd.Series(row)) for row in table.to_numpy()]
    np.testing.assert_allclose(slopes(table), one_by_one)
