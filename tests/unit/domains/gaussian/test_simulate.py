"""The Gaussian loop at scale, held against its laws and against a loop over rows."""

from typing import Any

import numpy as np
import pytest

from selfloop.data.regimes import BUILT_IN, Regime, Source
from selfloop.domains.gaussian.config import Chains, Data
from selfloop.domains.gaussian.laws import expected
from selfloop.domains.gaussian.steps.simulate_chains import given_rows, simulate
from selfloop.simulation.config import table_of
from selfloop.simulation.factors import LARGE

SEEDS = 1500
OWN = (
    Regime("golden", (Source("fresh", weight=0.618), Source("previous", weight=0.382))),
    Regime("mixed", (Source("real", 0.3), Source("all", 0.35, weight=2.0), Source("previous", 1.5))),
    Regime("budget", (Source("real", 0.5), Source("all", last=3)), 1.5),
    Regime("same", (Source("real", 0.25, same=True), Source("previous", 0.75))),
)


def chains(regime: Regime, **changes: Any) -> Chains:
    setting = {"dimension": 2, "rows": 12, "covariance": "maximum-likelihood", "temperature": 1.0}
    length = {"iterations": 8, "seeds": SEEDS}
    return Chains.model_validate({"regime": regime.name, "table": table_of(regime), **setting, **length, **changes})


@pytest.mark.parametrize("regime", [*(BUILT_IN[n] for n in ("replace", "accumulate", "accumulate-subsample")), *OWN])
@pytest.mark.parametrize("covariance", ["maximum-likelihood", "unbiased", "known"])
def test_every_regime_follows_its_law(regime: Regime, covariance: str) -> None:
    own = chains(regime, covariance=covariance)
    measured, law = simulate(own), expected(own, own.sets, None)
    assert {"mean_error", "variance"} <= law.keys()
    for name, values in law.items():
        error = measured[name].std(axis=0, ddof=1) / SEEDS**0.5 + 1e-12
        assert np.abs((measured[name].mean(axis=0) - values) / error).max() < 4.5, name


@pytest.mark.parametrize("regime", [*(BUILT_IN[n] for n in ("replace", "accumulate", "accumulate-subsample")), *OWN])
def test_large_matrices_follow_the_same_laws(regime: Regime) -> None:
    own = chains(regime, covariance="unbiased", temperature=0.9, dimension=LARGE, rows=40, iterations=4, seeds=200)
    measured, law = simulate(own), expected(own, own.sets, None)
    for name, values in law.items():
        error = measured[name].std(axis=0, ddof=1) / 200**0.5
        assert np.abs((measured[name].mean(axis=0) - values) / error).max() < 4.5, name


def test_under_replace_deviation_and_determinant_have_laws_too() -> None:
    own = chains(BUILT_IN["replace"], covariance="unbiased", dimension=1, rows=100, iterations=1000, seeds=1)
    law = expected(own, own.sets, None)
    assert law["deviation"][-1] == pytest.approx(0.0800, abs=5e-5)  # though the variance stays
    assert law["variance"][-1] == pytest.approx(1.0)
    assert "deviation" not in expected(chains(BUILT_IN["accumulate"]), chains(BUILT_IN["accumulate"]).sets, None)


def test_moments_and_rows_have_the_same_distribution() -> None:
    """A regime that draws rows of a part, but all of them at once, is replace."""
    rowwise = Regime("rows", (Source("previous", 0.5), Source("previous", 0.5)), 1.0)
    found = [simulate(chains(regime))["variance"] for regime in (BUILT_IN["replace"], rowwise)]
    means = [values.mean(axis=0) for values in found]
    assert means[0][:1] == pytest.approx(means[1][:1], abs=0.02)


def test_a_seed_does_not_depend_on_how_many_there_are() -> None:
    many, few = (simulate(chains(BUILT_IN["accumulate"], seeds=seeds)) for seeds in (130, 3))
    assert (many["mean_error"][:3] == few["mean_error"]).all()


def test_more_dimensions_than_rows_are_no_obstacle() -> None:
    found = simulate(chains(BUILT_IN["accumulate"], dimension=20, rows=10, seeds=20))
    assert np.isfinite(found["variance"]).all()
    assert "log_determinant" not in found


def test_packaged_rows_are_given_to_all_seeds() -> None:
    data = Data(source="packaged", name="orl", dimension=4)
    own = chains(BUILT_IN["replace"], dimension=4, rows=320, data=data.plain, seeds=400)
    real, untrained = given_rows(own)
    measured = simulate(own, real)
    assert np.ptp(measured["variance"][:, 0]) < 1e-12
    assert untrained == pytest.approx(measured["variance"][0, 0] + measured["mean_error"][0, 0])
    law = expected(own, own.sets, {name: float(values[0, 0]) for name, values in measured.items()})
    for name, values in law.items():
        error = measured[name].std(axis=0, ddof=1)[1:] / 400**0.5
        assert np.abs((measured[name].mean(axis=0) - values)[1:] / error).max() < 4.5, name
