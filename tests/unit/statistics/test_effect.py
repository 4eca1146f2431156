"""E_n: the share of what model 1 had learnt that is lost."""

import math

import numpy as np
import pandas as pd
import pytest

from selfloop.statistics.effect import effect, exact_effect, lost, table_of

LOSSES = np.array([[4.0, 4.5, 5.0, 5.0], [4.2, 4.6, 5.0, 5.0], [3.8, 4.3, 4.9, 4.9]])


def test_the_scale_has_model_1_at_0_and_the_baseline_at_1() -> None:
    assert lost(np.array([[4.0, 4.0, 5.0, 6.0]]), baseline=6.0).tolist() == [[0.0, 0.0, 0.5, 1.0]]


def test_seeds_are_compared_with_their_own_first_model() -> None:
    found = effect(LOSSES, baseline=6.0)
    assert (found.learned, found.first, found.last) == pytest.approx((2.0, 4.0, 4.967), abs=1e-3)
    assert found.total.value == pytest.approx(np.mean([1.0, 0.8, 1.1]) / 2)
    assert found.late.value == pytest.approx(np.mean([0.5, 0.4, 0.6]) / 2)  # from iteration 2, half of 4


def test_a_chain_is_flat_since_the_first_iteration_after_which_nothing_notable_comes() -> None:
    assert effect(LOSSES, baseline=6.0).flat_since == 3
    assert effect(LOSSES[:, :3], baseline=6.0).flat_since is None


def test_a_seed_that_is_not_finite_or_ends_early_is_left_out_and_counted() -> None:
    losses = np.vstack([LOSSES, [4.0, math.nan, 9.0, 9.0], [4.0, 4.1, 4.2, math.nan]])
    found = effect(losses, baseline=6.0)
    assert (found.broken, found.asked, found.total.seeds) == (2, 5, 3)
    assert found.total == effect(LOSSES, baseline=6.0).total


def test_two_iterations_have_no_late_change() -> None:
    """It would be the step from real to synthetic data."""
    assert math.isnan(effect(LOSSES[:, :2], baseline=6.0).late.value)


@pytest.mark.parametrize("baseline", [4.0, 3.0, math.nan])
def test_where_nothing_was_learnt_nothing_is_lost(baseline: float) -> None:
    assert math.isnan(effect(LOSSES, baseline).total.value)


def test_losses_without_a_mean_are_judged_by_medians() -> None:
    generator = np.random.default_rng(0)
    losses = np.abs(generator.standard_cauchy((100, 1))) * np.array([[1.0, 2.0, 3.0]])
    losses[0] = [1.0, 1e12, 1e15]
    found = effect(losses, baseline=10.0, has_mean=False)
    assert found.total.value == pytest.approx(2 * np.median(losses[:, 0]) / (10 - np.median(losses[:, 0])), rel=0.05)


def test_what_theory_knows_is_certain() -> None:
    n = np.arange(1.0, 101)
    found = exact_effect(0.1 * n, baseline=1.0, seeds=100)
    assert (found.total.low, found.total.high, found.total.p) == (pytest.approx(11.0), pytest.approx(11.0), 0.0)
    assert found.law is not None
    assert found.law.name == "linear"


def test_a_table_has_a_column_for_every_iteration() -> None:
    rows = pd.DataFrame([(0, 1, 4.0), (0, 3, math.inf), (1, 1, 4.1)], columns=["seed", "iteration", "value"])
    assert table_of(rows).columns.tolist() == [1, 2, 3]
    assert table_of(rows).isna().sum().sum() == 4
