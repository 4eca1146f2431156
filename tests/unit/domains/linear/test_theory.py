"""The closed forms: as the paper writes them, as the stacked loop finds them, and as simulations average to them."""

from dataclasses import replace

import linear_reference
import numpy as np
import pytest

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation.prediction import (
    approximate_median,
    expected_error,
    has_mean,
    untrained_error,
)
from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.domains.linear.simulation.simulate import simulate
from selfloop.errors import UserError

SIGMA = ((2.0, 0.5, 0.0), (0.5, 1.0, 0.3), (0.0, 0.3, 4.0))


def test_the_three_curves_are_equations_4_3_and_11():
    unit = 0.5 * 3 / (20 - 3 - 1)  # sigma2 d/(T-d-1)
    assert theory.expected_error("replace", 3, 20, 0.5, 4) == pytest.approx([unit, 2 * unit, 3 * unit, 4 * unit])
    accumulate = [unit, unit * (1 + 1 / 4), unit * (1 + 1 / 4 + 1 / 9)]
    assert theory.expected_error("accumulate", 3, 20, 0.5, 3) == pytest.approx(accumulate)
    multiple = [unit, unit * (1 + 1 / 2), unit * (1 + 1 / 2 + 1 / 3)]
    assert theory.expected_error("replace-multiple", 3, 20, 0.5, 3) == pytest.approx(multiple)
    for control in ("real", "real-multiple"):
        assert theory.expected_error(control, 3, 20, 0.5, 3) == pytest.approx([unit, unit, unit])


def test_accumulate_stays_below_its_bound_and_comes_close_while_the_others_pass_it():
    bound = theory.accumulate_bound(3, 20, 0.5)
    curve = theory.expected_error("accumulate", 3, 20, 0.5, 1000)
    assert (curve < bound).all() and curve[-1] > 0.999 * bound
    assert theory.expected_error("replace", 3, 20, 0.5, 2)[-1] > bound
    assert theory.expected_error("replace-multiple", 3, 20, 0.5, 4)[-1] > bound


@pytest.mark.parametrize("regime", theory.UPDATES)
@pytest.mark.parametrize("covariance", [None, SIGMA])
def test_fits_from_the_recorded_noise_are_those_of_the_stacked_loop(regime, covariance):
    scenario = Scenario(3, 9, 2.0, regime, 12, covariance, w_star=(1.0, -2.0, 0.5))
    draws = linear_reference.draw(scenario, seed=1)
    expected = linear_reference.fits(scenario, draws)
    actual = linear_reference.fits_from_noise(regime, draws.X, draws.noise, scenario.target)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


def test_one_wrong_row_shows_in_the_fits():
    scenario = Scenario(3, 9, 2.0, "accumulate", 4)
    draws = linear_reference.draw(scenario, seed=1)
    expected = linear_reference.fits(scenario, draws)
    draws.noise[1][5] += 1e-6
    actual = linear_reference.fits_from_noise("accumulate", draws.X, draws.noise, scenario.target)
    assert np.abs(actual - expected)[0].max() < 1e-10 < np.abs(actual - expected)[1].max()


@pytest.mark.parametrize("regime", theory.UPDATES)
def test_the_simulated_mean_and_its_spread_are_the_predicted_ones(regime):
    # 40,000 seeds: the mean has a standard error of 0.5%, so T-d for T-d-1 (6%) would be 13 standard errors away.
    errors = simulate(Scenario(3, 20, 0.5, regime, 20), range(40_000)).error
    deviation = theory.error_deviation(regime, 3, 20, 0.5, 20)
    z = (errors.mean(axis=0) - theory.expected_error(regime, 3, 20, 0.5, 20)) / (deviation / 40_000**0.5)
    assert np.abs(z).max() < 4
    # The law's 8th moment is its last finite one, so the sample deviation is good to about 1%.
    np.testing.assert_allclose(errors.std(axis=0), deviation, rtol=0.05)


@pytest.mark.parametrize("covariance", [None, SIGMA])
def test_the_law_of_the_error_is_a_ratio_of_chi_squares_whatever_sigma(covariance):
    # The stacked loop itself, against the law in theory.py: Kolmogorov-Smirnov at level 1e-4.
    scenario = Scenario(3, 9, 2.0, "accumulate", 3, covariance)
    measured = linear_reference.simulate_directly(scenario, range(2000)).error[:, 2]
    generator = np.random.default_rng(0)
    ratio = generator.chisquare(3, 20_000) / generator.chisquare(9 - 3 + 1, 20_000)
    predicted = 2.0 * theory.growth("accumulate", 3)[2] * ratio
    assert _ks(measured, predicted) < 0.052 < _ks(1.25 * measured, predicted)


def test_the_deviation_is_infinite_where_the_variance_is():
    assert np.isinf(theory.error_deviation("replace", 3, 6, 1.0, 2)).all()
    assert np.isfinite(theory.error_deviation("replace", 3, 7, 1.0, 2)).all()


def test_the_large_T_limit_of_subsampling_begins_as_the_others_and_ends_at_a_plateau():
    limit = theory.subsample_limit(3, 20, 0.5, 100_000) / theory.expected_error("replace", 3, 20, 0.5, 1)
    assert limit[0] == pytest.approx(1)
    assert limit[-1] == pytest.approx(np.pi**2 / 2 - 2, rel=1e-3)


def test_subsampling_at_large_T_is_near_its_limit():
    # Standard error 1.8% per point, finite-T excess about 1%; accumulate's curve is 40% lower at n = 10.
    errors = simulate(Scenario(2, 300, 1.0, theory.SUBSAMPLE, 10), range(3000)).error.mean(axis=0)
    np.testing.assert_allclose(errors, theory.subsample_limit(2, 300, 1.0, 10), rtol=0.08)


@pytest.mark.parametrize(
    ("d", "T", "plateau"), [(10, 32, 4.76), (32, 100, 4.62), (10, 100, 3.30), (3, 100, 3.06), (3, 10, 5.50)]
)
def test_the_approximation_of_subsampling_begins_at_1_and_ends_where_poisson_multiplicities_say(d, T, plateau):
    curve = theory.subsample_approximation(d, T, 3000)
    assert curve[0] == pytest.approx(1)
    assert curve[-1] == pytest.approx(plateau, abs=0.01)


@pytest.mark.parametrize(("d", "T"), [(10, 32), (10, 100), (3, 100)])
def test_medians_of_subsampling_lie_near_the_approximation_and_far_from_the_limit_of_many_rows(d, T):
    errors = np.median(simulate(Scenario(d, T, 1.0, theory.SUBSAMPLE, 60), range(500)).error, axis=0)
    ratios = errors / approximate_median(Scenario(d, T, 1.0, theory.SUBSAMPLE, 60))
    assert np.abs(ratios - 1).max() < 0.2
    if (d, T) == (10, 32):
        limit = theory.subsample_limit(d, T, 1.0, 60)
        assert (errors[20:] / errors[0] > 1.25 * limit[20:] / limit[0]).all()


RIDGE = [
    Scenario(3, 10, 1.0, "replace", 30, ridge=0.1),
    Scenario(10, 32, 0.5, "replace-multiple", 30, ridge=0.01),
    Scenario(10, 32, 1.0, "accumulate", 30, ridge=0.3),
    Scenario(3, 12, 2.0, "accumulate", 30, SIGMA, 0.3, (1.0, -2.0, 0.5)),
    Scenario(9, 3, 1.0, "accumulate", 30, ridge=0.5),  # fewer rows than dimensions
    Scenario(3, 2, 1.0, "replace", 30, SIGMA, 0.1, (1.0, -2.0, 0.5)),
]


@pytest.mark.parametrize("scenario", RIDGE, ids=lambda scenario: f"{scenario.regime}, {scenario.label}")
def test_the_simulated_mean_under_ridge_is_that_of_its_law_and_not_that_of_another_penalty(scenario):
    errors = simulate(scenario, range(4000)).error
    error = errors.std(axis=0) / 4000**0.5
    predicted = expected_error(scenario)
    # The law's average over X has an error of its own, below 1%.
    assert (np.abs(errors.mean(axis=0) - predicted) < 4 * error + 0.01 * predicted).all()
    other = expected_error(replace(scenario, ridge=1.3 * scenario.ridge))
    assert (np.abs(errors.mean(axis=0) - other) > 4 * error + 0.01 * other).any()


def test_the_law_of_a_general_covariance_is_that_of_the_identity_where_they_are_the_same():
    plain = theory.ridge_error("accumulate", 3, 20, 0.5, 0.2, 10)
    general = theory.ridge_error("accumulate", 3, 20, 0.5, 0.2, 10, np.eye(3))
    np.testing.assert_allclose(general, plain, rtol=0.01)


def test_under_ridge_replacing_is_bounded_and_accumulating_passes_the_bound_of_least_squares():
    replaced = theory.ridge_error("replace", 10, 100, 1.0, 0.3, 300)
    assert replaced[-1] == pytest.approx(replaced[-2], rel=1e-6)
    accumulated = theory.ridge_error("accumulate", 10, 100, 1.0, 0.3, 100)
    assert accumulated[-1] / accumulated[0] > 2 * np.pi**2 / 6


def test_a_tiny_penalty_has_the_law_of_least_squares():
    tiny = theory.ridge_error("replace-multiple", 3, 40, 2.0, 1e-9, 10)
    np.testing.assert_allclose(tiny, theory.expected_error("replace-multiple", 3, 40, 2.0, 10), rtol=0.02)


@pytest.mark.parametrize(
    ("scenario", "mean", "law", "approximation"),
    [
        (Scenario(3, 8, 1.0, "replace", 2), True, True, False),
        (Scenario(3, 4, 1.0, "replace", 2), False, False, False),
        (Scenario(3, 4, 1.0, "replace", 2, ridge=0.1), True, True, False),
        (Scenario(3, 8, 1.0, theory.SUBSAMPLE, 2), False, False, True),
        (Scenario(3, 4, 1.0, theory.SUBSAMPLE, 2), False, False, False),
        (Scenario(3, 8, 1.0, theory.SUBSAMPLE, 2, ridge=0.1), True, False, False),
    ],
)
def test_what_is_known_of_a_scenario(scenario, mean, law, approximation):
    assert has_mean(scenario) == mean
    assert (expected_error(scenario) is not None) == law
    assert (approximate_median(scenario) is not None) == approximation


def test_what_has_learnt_nothing_has_the_error_of_zero_parameters():
    assert untrained_error(Scenario(4, 8, 1.0, "replace")) == pytest.approx(1)
    assert untrained_error(Scenario(3, 8, 1.0, "replace", covariance=SIGMA, w_star=(1.0, 0.0, 2.0))) == pytest.approx(
        18
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.expected_error("replace", 3, 4, 1.0, 5), r"T is 4 with d=3.*T >= d\+2 = 5"),
        (lambda: theory.error_deviation("replace", 3, 4, 1.0, 5), r"T is 4"),
        (lambda: theory.accumulate_bound(3, 4, 1.0), r"T is 4"),
        (lambda: theory.expected_error("replace", 3, 9, 0.0, 5), r"sigma2 is 0.0.*above 0"),
        (lambda: theory.expected_error("replace", 3, 9, float("nan"), 5), r"sigma2 is nan"),
        (lambda: theory.expected_error("replace", 0, 9, 1.0, 5), r"d is 0"),
        (lambda: theory.expected_error("replace", 3, 9, 1.0, 0), r"iterations is 0"),
        (lambda: theory.expected_error("replace", 2, 9, 1.0, 5, [[1, 2], [2, 1]]), r"not positive definite.*-1"),
        (lambda: theory.expected_error("replace", 2, 9, 1.0, 5, [[1, 1], [1, 1]]), r"not positive definite"),
        (lambda: theory.expected_error("replace", 2, 9, 1.0, 5, [[1, 0.5], [0, 1]]), r"not a symmetric"),
        (lambda: theory.expected_error("replace", 2, 9, 1.0, 5, np.eye(3)), r"shape \(3, 3\).*\(2, 2\)"),
        (lambda: theory.expected_error(theory.SUBSAMPLE, 3, 9, 1.0, 5), r"'accumulate-subsample' has no closed form"),
        (lambda: theory.ridge_error("replace", 3, 9, 1.0, 0.0, 5), r"ridge is 0.0.*above 0"),
        (lambda: theory.growth("fresh", 5), r"'fresh' has no closed form.*replace, accumulate, replace-multiple"),
    ],
)
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_recorded_data_that_do_not_fit_are_refused():
    X, w = np.eye(4, 2), np.zeros(2)
    with pytest.raises(UserError, match=r"noise of iteration 2 has shape \(4,\).*\(8,\)"):
        linear_reference.fits_from_noise("replace-multiple", X, [np.zeros(4), np.zeros(4)], w)
    with pytest.raises(UserError, match=r"full column rank"):
        linear_reference.fits_from_noise("replace", np.ones((4, 2)), [np.zeros(4)], w)
    with pytest.raises(UserError, match=r"w\* has shape \(3,\)"):
        linear_reference.fits_from_noise("replace", X, [np.zeros(4)], np.zeros(3))


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between two empirical distribution functions."""
    at = np.concatenate([one, other])
    return float(np.abs(_below(one, at) - _below(other, at)).max())


def _below(sample: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(sample), at, side="right") / len(sample)
