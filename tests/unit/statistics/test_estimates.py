"""Intervals and p-values over seeds, against SciPy's and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from selfloop.statistics import estimates


def test_a_mean_has_student_s_interval_and_p_value() -> None:
    values = np.array([0.3, 0.1, 0.25, math.nan])
    found = estimates.mean(values)
    test = stats.ttest_1samp(values[:3], 0.0)
    low, high = test.confidence_interval(0.95)
    assert found.seeds == 3
    assert (found.value, found.low, found.high) == pytest.approx((values[:3].mean(), low, high))
    assert found.p == pytest.approx(test.pvalue)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = estimates.mean(np.array([0.3]))
    assert found.value == 0.3
    assert all(map(math.isnan, (found.low, found.high, found.p)))
    assert not found.within(1.0)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.2, 0.0)])
def test_seeds_that_agree_exactly_are_certain(value: float, p: float) -> None:
    found = estimates.mean(np.full(3, value))
    assert (found.low, found.high, found.p) == pytest.approx((value, value, p))


def test_a_median_s_interval_covers_it_whatever_the_distribution() -> None:
    generator = np.random.default_rng(0)
    draws = generator.standard_cauchy((2000, 20))
    found = [estimates.median(values) for values in draws]
    assert np.mean([each.low <= 0 <= each.high for each in found]) >= 0.95
    assert np.mean([each.p < 0.05 for each in found]) <= 0.05


def test_a_median_of_five_seeds_has_no_interval() -> None:
    assert math.isnan(estimates.median(np.arange(5.0)).low)
    assert estimates.median(np.arange(1.0, 7.0)).low == 1.0  # (1/2)^6 at either end


def test_holm_s_p_values_are_those_of_the_procedure() -> None:
    assert estimates.holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    assert estimates.holm([0.9, 0.8]) == [1.0, 1.0]


def test_within_a_margin_is_the_whole_interval() -> None:
    assert estimates.Estimate(0.0, -0.04, 0.04, 1.0, 3).within(0.05)
    assert not estimates.Estimate(0.02, -0.01, 0.05, 0.2, 3).within(0.05)
