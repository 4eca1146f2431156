"""Which simulations a Gaussian experiment asks for, and what is said about one that cannot be."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from selfloop.analysis.laws import law_figure
from selfloop.data.regimes import BUILT_IN
from selfloop.domains.gaussian.domain import DOMAIN, Experiment
from selfloop.domains.gaussian.steps import simulate_chains
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.planning.check import check

ROOT = Path(__file__).parents[4]

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


def test_a_regime_of_one_s_own_is_drawn_over_its_law_without_python(tmp_path: Path) -> None:
    """The YAML of docs/regimes.md as it stands, with fewer seeds."""
    page = (ROOT / "docs/regimes.md").read_text(encoding="utf-8")
    (written,) = [each for each in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "simulation:" in each]
    config = yaml.safe_load(written)
    config["experiments"]["mean"]["simulation"]["seeds"] = 40
    checked = check(config)
    entry = checked.experiments["mean"]
    assert isinstance(entry, Experiment)
    tables = []
    for number, chains in enumerate(DOMAIN.simulations(entry, checked.regimes)):
        path = tmp_path / f"{number}.parquet"
        params = simulate_chains.Params.model_validate({"simulation": chains})
        simulate_chains.run(Job({}, {"measurements": str(path)}, params))
        tables.append(pd.read_parquet(path).assign(experiment="mean", domain="gaussian", part=0))
    (quantity,) = DOMAIN.simulated({"mean": entry}, checked.regimes)
    figure = law_figure(pd.concat(tables), "gaussian", quantity)
    assert figure is not None
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    # A window of one, of two and of three models, in units of the variance over 100 rows.
    laws = [[1, 2, 3, 4], [1, 2, 2.25, 2.25 + 1 / 9]]
    assert [list(line.get_ydata())[:4] for line in dashed] == [pytest.approx([v / 100 for v in law]) for law in laws]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"Replace", "Window", "its law"}
