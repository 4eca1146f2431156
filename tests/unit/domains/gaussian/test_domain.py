"""Which simulations a Gaussian experiment asks for, and what is said about one that cannot be."""

from typing import Any

import pytest
import yaml

from selfloop.data.regimes import BUILT_IN
from selfloop.domains.gaussian.domain import DOMAIN, Experiment
from selfloop.errors import UserError
from selfloop.planning.check import check

BASE = """
experiments:
  a:
    domain: gaussian
    data: {dimension: 3, rows: 20, seed: per-chain}
    regimes: [replace, accumulate-subsample]
    iterations: 2
    seeds: [0]
    simulation: {grid: [{dimension: [1, 10], rows: [20, 50]}, {}], iterations: 5, seeds: 6}
"""


def checked(**changes: Any) -> Experiment:
    config = yaml.safe_load(BASE)
    config["experiments"]["a"].update(changes)
    entry = check(config).experiments["a"]
    assert isinstance(entry, Experiment)
    return entry


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"dimension": 3}}, "experiments.a.data lacks the key 'rows'"),
        ({"data": {"source": "packaged"}}, "experiments.a.data lacks the key 'name'"),
        ({"data": {"source": "packaged", "name": "orl", "dimension": 65}}, "data.dimension: 65 is more than the 64"),
        ({"data": {"source": "packaged", "name": "orl", "rows": 330}}, "data.rows: 330 is more than the 320 rows"),
        ({"data": {"source": "packaged", "name": "orl"}}, "simulation.grid: packaged rows have one dimension"),
        (
            {
                "data": {"source": "packaged", "name": "orl", "dimension": 4},
                "training": {"covariance": "known"},
                "simulation": None,
            },
            "training.covariance: 'known' needs data whose distribution is known",
        ),
        ({"data": {"dimension": 1000, "rows": 10_000_000}}, "data.rows: 10,000,000 rows of dimension 1,000"),
    ],
)
def test_what_cannot_be_is_said_before_the_work_starts(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        checked(**changes)
    assert said in str(error.value)


def test_every_setting_is_simulated_under_every_regime_and_sampling() -> None:
    entry = checked(sampling=[{}, {"temperature": 0.9}])
    found = DOMAIN.simulations(entry, BUILT_IN)
    assert len(found) == (4 + 1) * 2 * 2
    last = DOMAIN.chains.model_validate(found[-1])
    assert (last.label, last.sampling, last.regime) == ("d=3, n=20", "temperature=0.9", "accumulate-subsample")
    assert last.sets[-1].budget == 1.0


def test_the_loop_follows_the_law_where_its_real_rows_are_those_of_its_seeds() -> None:
    entries = {"a": checked(), "b": checked(data={"dimension": 3, "rows": 20})}
    assert DOMAIN.own_settings(entries) == [
        {"experiment": "a", "label": "d=3, n=20"},
        {"experiment": "b", "label": ""},
    ]


def test_figures_are_of_what_is_simulated() -> None:
    simulation = {"iterations": 5, "seeds": 6}
    known = checked(training={"covariance": "known"}, simulation=simulation)
    assert [each.metric for each in DOMAIN.simulated({"a": known}, BUILT_IN)] == ["mean_error"]
    singular = checked(data={"dimension": 20, "rows": 20, "seed": "per-chain"}, simulation=simulation)
    both = DOMAIN.simulated({"a": known, "b": singular}, BUILT_IN)
    assert [each.metric for each in both] == ["mean_error", "variance", "deviation"]
    assert DOMAIN.simulated({"a": known, "b": checked()}, BUILT_IN) == list(DOMAIN.laws)
