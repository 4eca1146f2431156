"""The discrete loop at scale, held against its laws."""

from typing import Any

import numpy as np
import pytest

from selfloop.data.regimes import BUILT_IN, Regime, Source
from selfloop.domains.discrete.config import Chains
from selfloop.domains.discrete.laws import expected
from selfloop.domains.discrete.steps.simulate_chains import counts_of, simulate
from selfloop.simulation.config import table_of

SEEDS = 200
OWN = (
    Regime("fresh", (Source("fresh", 0.2), Source("previous", 0.8))),
    Regime("same", (Source("real", 0.2, same=True), Source("previous", 0.8))),
    Regime("mixed", (Source("real", 0.3), Source("all", 0.35, weight=2.0), Source("previous", 1.5))),
)


def chains(regime: Regime, **changes: Any) -> Chains:
    setting = {"source": "categories", "types": 300, "rows": 500, "iterations": 8, "seeds": SEEDS}
    return Chains.model_validate({"regime": regime.name, "table": table_of(regime), **setting, **changes})


@pytest.mark.parametrize("regime", [*(BUILT_IN[n] for n in ("replace", "accumulate", "accumulate-subsample")), *OWN])
def test_every_regime_follows_its_law(regime: Regime) -> None:
    own = chains(regime)
    real, probabilities, test = counts_of(own)
    assert real is None
    measured, law = simulate(own, real, probabilities, test), expected(own.sets, 500, test, probabilities, real)
    assert law.keys() == {"types", "lost_types", "gini_simpson"}
    for name, values in law.items():
        error = measured[name].std(axis=0, ddof=1) / SEEDS**0.5
        assert np.abs((measured[name].mean(axis=0) - values) / error).max() < 4.5, name


def test_words_die_before_the_loss_moves() -> None:
    own = chains(BUILT_IN["replace"], source="packaged", name="shakespeare", types=None, rows=20_000, seeds=10)
    given = counts_of(own)
    measured, law = simulate(own, *given), expected(own.sets, 20_000, given[2], given[1], given[0])
    types, loss = (measured[name].mean(axis=0) for name in ("types", "cross_entropy"))
    assert types[-1] < 0.5 * types[0]
    assert loss[-1] / loss[0] - 1 < 0.2 * (1 - types[-1] / types[0])
    assert types == pytest.approx(law["types"], rel=0.02)


def test_a_seed_does_not_depend_on_how_many_there_are() -> None:
    own = [chains(BUILT_IN["accumulate-subsample"], seeds=seeds) for seeds in (110, 3)]
    many, few = (simulate(each, *counts_of(each)) for each in own)
    assert (many["entropy"][:3] == few["entropy"]).all()


def test_many_rows_at_a_temperature_sharpen_as_the_power_law_says() -> None:
    """p_t ∝ p_0^(1/T^t)."""
    own = chains(BUILT_IN["replace"], types=4, rows=10**7, temperature=0.5, iterations=3, seeds=1)
    real, probabilities, test = counts_of(own)
    found = simulate(own, real, probabilities, test)
    sharpened = probabilities ** (1 / 0.5**2)
    sharpened /= sharpened.sum()
    assert found["gini_simpson"][0, 2] == pytest.approx(1 - (sharpened**2).sum(), rel=1e-2)
    assert expected(own.sets, 10**7, test, probabilities, real, 0.5) == {}
