"""The fast paths: the values of the stacked loop given its data, its law given none, and streams that keep apart."""

import itertools
from dataclasses import replace

import linear_reference as direct
import numpy as np
import pytest
from linear_reference import bidiagonalize, errors_from_rows

from selfloop.data.regimes import BUILT_IN, Regime, Source, training_set
from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation import prediction
from selfloop.domains.linear.simulation.regressions import Regressions
from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.domains.linear.simulation.simulate import lanes, simulate
from selfloop.domains.linear.simulation.subsample import INVERTED_UP_TO, PRODUCTS_UP_TO, draw_picks
from selfloop.domains.linear.steps.simulate_chains import tidy_rows
from selfloop.errors import UserError

SIGMA = ((2.0, 0.5, 0.0), (0.5, 1.0, 0.3), (0.0, 0.3, 4.0))
W_STAR = (1.0, -2.0, 0.5)


@pytest.mark.parametrize("regime", theory.REGIMES)
@pytest.mark.parametrize("covariance", [None, SIGMA])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_given_the_same_rows_and_noise_both_paths_have_the_same_errors(regime, covariance, ridge):
    scenario = Scenario(3, 12, 2.0, regime, 15, covariance, ridge, W_STAR)
    for seed in range(5):
        draws = direct.draw(scenario, seed)
        expected = direct.errors(scenario, direct.fits(scenario, draws))
        actual = errors_from_rows(scenario, draws.X, draws.noise, draws.picks)
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.parametrize("regime", theory.REGIMES)
def test_so_they_have_in_one_dimension_and_with_fewer_rows_than_dimensions(regime):
    for scenario in (Scenario(1, 4, 1.0, regime, 6), Scenario(3, 2, 1.0, regime, 6, SIGMA, 0.1, W_STAR)):
        draws = direct.draw(scenario, seed=0)
        expected = direct.errors(scenario, direct.fits(scenario, draws))
        actual = errors_from_rows(scenario, draws.X, draws.noise, draws.picks)
        np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.parametrize("d", [INVERTED_UP_TO + 1, PRODUCTS_UP_TO + 1])
def test_so_they_have_in_many_dimensions_where_subsampling_computes_differently(d):
    scenario = Scenario(d, 3 * d, 1.0, theory.SUBSAMPLE, 4)
    draws = direct.draw(scenario, seed=0)
    expected = direct.errors(scenario, direct.fits(scenario, draws))
    actual = errors_from_rows(scenario, draws.X, draws.noise, draws.picks)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_a_pick_with_too_few_distinct_rows_is_fitted_with_the_minimum_norm():
    scenario = Scenario(3, 4, 1.0, theory.SUBSAMPLE, 5, SIGMA, w_star=W_STAR)
    draws = direct.draw(scenario, seed=0)
    few = np.array([0, 4, 5, 8])  # rows 0 and 1 of X only, from three parts of the pool
    draws = direct.Draws(draws.X, draws.noise, (*draws.picks[:2], few, *draws.picks[3:]))
    expected = direct.errors(scenario, direct.fits(scenario, draws))
    actual = errors_from_rows(scenario, draws.X, draws.noise, draws.picks)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_picks_are_different_rows_of_the_pool_and_every_set_is_equally_likely():
    """Chi-square over the 20 sets of 3 out of 6 and the 84 of 3 out of 9, level 1e-4.

    Power: one set that comes 2.5% of the time too often is found, as the last line checks.
    """
    rounds = (np.random.default_rng([0, r]) for r in itertools.count())
    picks = draw_picks(rounds, iterations=3, width=20_000, T=3)
    for n, pick in enumerate(picks, start=1):
        assert (pick[:, 0] >= 0).all()
        assert (np.diff(pick, axis=1) > 0).all()
        assert (pick[:, -1] < 3 * n).all()
    for pick, sets, limit in ((picks[1], 20, 50.9), (picks[2], 84, 139.6)):
        assert _chi_square(pick, sets) < limit
        slightly_off = np.concatenate([pick[:19_500], np.tile(pick[:1], (500, 1))])
        assert _chi_square(slightly_off, sets) > limit


def test_the_bidiagonal_form_keeps_singular_values_and_the_noise_that_matters():
    generator = np.random.default_rng(0)
    Z, noise = generator.standard_normal((7, 4)), generator.standard_normal((3, 7))
    diagonal, above, reduced = bidiagonalize(Z, noise)
    B = np.diag(diagonal) + np.diag(above, 1)
    np.testing.assert_allclose(np.linalg.svd(B)[1], np.linalg.svd(Z)[1], rtol=1e-12)
    # Noise orthogonal to the columns of Z is what has gone.
    np.testing.assert_allclose((reduced**2).sum(axis=1), ((noise @ np.linalg.qr(Z)[0]) ** 2).sum(axis=1), rtol=1e-12)


LAWS = [Scenario(3, 8, 2.0, regime, 5) for regime in theory.REGIMES]
LAWS += [Scenario(3, 8, 2.0, regime, 5, SIGMA, 0.2, W_STAR) for regime in theory.REGIMES]
LAWS += [Scenario(3, 3, 2.0, "accumulate", 5), Scenario(3, 2, 2.0, "replace", 5, SIGMA, 0.2, W_STAR)]


@pytest.mark.parametrize("scenario", LAWS, ids=lambda s: f"{s.regime}, {s.label}")
def test_both_paths_have_the_same_law(scenario):
    """Kolmogorov-Smirnov of 1,000 stacked runs against 20,000 fast ones, level 1e-4 per comparison (distance 0.072).

    Compared are the errors of iterations 1 and 5, and their ratio, which sees how iterations depend on each other
    (rounded: that of the controls is 1).
    Power: errors off by a factor of 1.4 are found, as the last line checks.
    """
    slow = direct.simulate_directly(scenario, range(1000)).error
    fast = simulate(scenario, range(20_000 if scenario.regime in theory.UPDATES else 4000)).error
    level = 2.225 * (1 / len(slow) + 1 / len(fast)) ** 0.5
    for statistic in (lambda e: e[:, 0], lambda e: e[:, -1], lambda e: np.round(e[:, -1] / e[:, 0], 9)):
        assert _ks(statistic(slow), statistic(fast)) < level
    assert _ks(1.4 * slow[:, -1], fast[:, -1]) > level


@pytest.mark.parametrize("regime", theory.REGIMES)
@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_a_seed_does_not_depend_on_its_company_and_a_longer_run_goes_on_from_a_shorter(regime, ridge):
    scenario = Scenario(3, 8, 2.0, regime, 6, ridge=ridge)
    width = lanes(scenario)
    together = simulate(scenario, range(width + 5)).error
    alone = simulate(scenario, [width + 2, 7]).error
    longer = simulate(replace(scenario, iterations=9), range(width + 5)).error
    np.testing.assert_array_equal(alone, together[[width + 2, 7]])
    np.testing.assert_array_equal(longer[:, :6], together)
    assert len(np.unique(together[:, 0])) == len(together)
    assert len(np.unique(together)) == (len(together) if BUILT_IN[regime].control else together.size)


def test_regimes_begin_with_the_same_first_iteration():
    first = [simulate(Scenario(3, 8, 2.0, regime, 4), range(10)).error[:, 0] for regime in theory.UPDATES]
    for other in first[1:]:
        np.testing.assert_array_equal(first[0], other)


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_the_same_real_rows_however_often_give_the_same_model(ridge):
    for regime in ("real", "real-multiple"):
        error = simulate(Scenario(3, 8, 2.0, regime, 4, ridge=ridge), range(10)).error
        np.testing.assert_allclose(error, np.repeat(error[:, :1], 4, axis=1), rtol=1e-12)


@pytest.mark.parametrize("regime", theory.REGIMES)
def test_settings_that_differ_in_sigma2_have_draws_of_their_own(regime):
    one, two = (simulate(Scenario(3, 8, sigma2, regime, 4), range(2000)).error for sigma2 in (1.0, 2.0))
    # Shared draws would be correlated fully; independent ones of 2,000 seeds have |r| of about 0.02.
    assert abs(np.corrcoef(np.log(one[:, 0]), np.log(two[:, 0]))[0, 1]) < 0.1


def test_least_squares_scales_with_sigma2_but_does_not_feel_the_true_parameters():
    draws = direct.draw(Scenario(3, 8, 1.0, "accumulate", 4), seed=0)
    base = errors_from_rows(Scenario(3, 8, 1.0, "accumulate", 4), draws.X, draws.noise)
    moved = errors_from_rows(Scenario(3, 8, 1.0, "accumulate", 4, w_star=(9.0, 9.0, 9.0)), draws.X, draws.noise)
    louder = errors_from_rows(Scenario(3, 8, 4.0, "accumulate", 4), draws.X, [2 * noise for noise in draws.noise])
    np.testing.assert_array_equal(moved, base)
    np.testing.assert_allclose(louder, 4 * base, rtol=1e-12)


def test_a_vanishing_ridge_is_least_squares():
    draws = direct.draw(Scenario(3, 8, 1.0, "replace", 5), seed=0)
    plain = errors_from_rows(Scenario(3, 8, 1.0, "replace", 5), draws.X, draws.noise)
    tiny = errors_from_rows(Scenario(3, 8, 1.0, "replace", 5, ridge=1e-13), draws.X, draws.noise)
    np.testing.assert_allclose(tiny, plain, rtol=1e-9)


def test_it_runs_where_theory_has_nothing_to_say():
    assert np.isfinite(simulate(Scenario(3, 3, 1.0, "replace", 5), range(20)).error).all()
    # So few rows that some picks of the pool cannot determine the fit.
    assert np.isfinite(simulate(Scenario(3, 3, 1.0, theory.SUBSAMPLE, 30), range(20)).error).all()


WINDOW = Regime("window", (Source("all", last=3),))
OTHERS = (
    WINDOW,
    Regime("weights", (Source("real", weight=3.0), Source("all", last=2))),
    Regime("many", (Source("previous", 2.0), Source("real", 2.0))),
)


def own(regime: Regime, d: int = 3, T: int = 40, iterations: int = 12, **changes: float) -> Scenario:
    sets = tuple(training_set(regime, n) for n in range(1, iterations + 1))
    return Scenario(d, T, 1.0, regime.name, iterations, sets=sets, **changes)


@pytest.mark.parametrize("regime", OTHERS)
def test_every_regime_of_whole_parts_follows_its_law(regime):
    scenario, seeds = own(regime), 2000
    law = prediction.expected_error(scenario)
    deviation = theory.error_deviation("replace", 3, 40, 1.0, 1)[0] / law[0] * law / seeds**0.5
    assert np.abs((simulate(scenario, range(seeds)).error.mean(axis=0) - law) / deviation).max() < 4.5


@pytest.mark.parametrize("name", ["replace", "accumulate", "replace-multiple"])
def test_by_its_table_a_regime_has_the_law_that_its_name_has(name):
    named = Scenario(3, 40, 1.0, name, 12)
    table = own(BUILT_IN[name])
    assert prediction.expected_error(table) == pytest.approx(prediction.expected_error(named))
    errors = [simulate(scenario, range(100)).error for scenario in (named, table)]
    assert errors[0][:, 0] == pytest.approx(errors[1][:, 0])  # the same rows and noise


def test_row_by_row_a_regime_has_the_distribution_that_it_has_by_its_noises():
    """Two halves of a part with a budget of a whole one are replace."""
    halves = own(Regime("halves", (Source("previous", 0.5), Source("previous", 0.5)), 1.0), iterations=2)
    fresh = own(Regime("fresh", (Source("fresh"),)), iterations=3)
    assert not halves.whole and not fresh.whole
    errors = simulate(fresh, range(1500)).error
    assert errors.mean(axis=0) == pytest.approx(np.full(3, theory.first_error(3, 40, 1.0)), rel=0.1)
    assert np.corrcoef(errors[:, 0], errors[:, 2])[0, 1] < 0.1


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_rows_of_one_seed_are_fitted_as_the_direct_way_says(ridge):
    """The fit of a pick with weights, against the normal equations of the stacked rows."""
    scenario = own(Regime("own", (Source("fresh", 0.5, weight=2.0), Source("previous", 0.7))), ridge=ridge)
    domain, generator = Regressions(scenario, 1), np.random.default_rng(0)
    rows = domain.real(generator)
    stacked = np.concatenate([rows[0], rows[0, ::2]])
    p = np.r_[np.full(40, 0.4 / 40), np.full(20, 0.6 / 20)]
    X, y = stacked[:, :3], stacked[:, 3] + stacked[:, :3] @ scenario.target
    u = domain.fit(stacked[None], p[None])
    expected = np.linalg.solve((X.T * p) @ X + ridge * np.eye(3), (X.T * p) @ y)
    assert u[0] + scenario.target == pytest.approx(expected)


def test_too_few_rows_give_the_shortest_fit():
    scenario = own(WINDOW)
    domain, generator = Regressions(scenario, 1), np.random.default_rng(0)
    two = domain.real(generator)[:, [3, 5]]
    X = two[0, :, :3]
    y = two[0, :, 3] + X @ scenario.target
    assert domain.fit(two, None)[0] + scenario.target == pytest.approx(np.linalg.pinv(X) @ y)


def test_tidy_rows_are_those_of_the_metrics_table():
    simulation = simulate(Scenario(3, 8, 1.0, "replace", 4), [5, 2])
    table = tidy_rows(simulation)
    assert table.num_rows == 8 + 4 + 1
    assert table.slice(6, 1).to_pylist() == [
        {
            "model": "d=3, T=8, sigma2=1.0",
            "regime": "replace",
            "sampling": "gaussian",
            "split": "simulation",
            "metric": "excess_risk",
            "seed": 2,
            "iteration": 3,
            "value": simulation.error[1, 2],
        }
    ]
    *predicted, baseline = table.slice(8).to_pylist()
    assert [row["value"] for row in predicted] == theory.expected_error("replace", 3, 8, 1.0, 4).tolist()
    assert [row["iteration"] for row in predicted] == [1, 2, 3, 4]
    assert {(row["split"], row["seed"]) for row in predicted} == {("simulation-theory", 0)}
    assert [baseline[key] for key in ("split", "seed", "iteration")] == ["simulation-baseline", 0, 0]
    assert baseline["value"] == pytest.approx(1)


def test_where_no_law_is_known_no_prediction_is_listed():
    for scenario in (Scenario(3, 8, 1.0, theory.SUBSAMPLE, 4), Scenario(3, 4, 1.0, "replace", 4)):
        assert tidy_rows(simulate(scenario, [0])).num_rows == 4 + 1


def test_labels_tell_settings_apart():
    settings = [
        Scenario(3, 8, 1, "replace"),
        Scenario(3, 8, 1, "replace", covariance=SIGMA),
        Scenario(3, 8, 1, "replace", ridge=0.1),
        Scenario(3, 8, 1, "replace", ridge=0.1, w_star=W_STAR),
    ]
    assert len({scenario.label for scenario in settings}) == len(settings)
    assert Scenario(3, 8, 1, "replace", covariance=[list(row) for row in SIGMA]) == settings[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d": 0}, r"d is 0"),
        ({"iterations": 0}, r"iterations is 0"),
        ({"sigma2": -1.0}, r"sigma2 is -1.0.*above 0"),
        ({"sigma2": float("inf")}, r"sigma2 is inf"),
        (
            {"regime": "keep"},
            r"regime is 'keep'.*replace, accumulate, replace-multiple, real, real-multiple, accumulate-subsample",
        ),
        ({"ridge": -0.1}, r"ridge is -0.1"),
        ({"T": 2}, r"T is 2 with d=3.*T >= d, or a ridge penalty"),
        ({"w_star": (1.0, 2.0)}, r"w_star has 2 numbers.*d=3"),
        ({"covariance": ((1.0, 2.0, 0.0), (2.0, 1.0, 0.0), (0.0, 0.0, 1.0))}, r"Sigma is not positive definite"),
    ],
)
def test_bad_settings_are_refused_in_words(values, message):
    with pytest.raises(UserError, match=message):
        Scenario(**{"d": 3, "T": 8, "sigma2": 1.0, "regime": "replace", **values})


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(UserError, match="seeds must be"):
        simulate(Scenario(3, 8, 1.0, "replace"), seeds)


def _chi_square(picks: np.ndarray, sets: int) -> float:
    """The distance of how often each set is picked from the uniform distribution."""
    seen = np.unique(picks, axis=0, return_counts=True)[1]
    expected = len(picks) / sets
    return float(((seen - expected) ** 2).sum() / expected + (sets - len(seen)) * expected)


def _ks(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between two empirical distribution functions."""
    at = np.concatenate([one, other])
    return float(np.abs(_below(one, at) - _below(other, at)).max())


def _below(sample: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(sample), at, side="right") / len(sample)
