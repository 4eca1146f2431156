"""What is said about a linear experiment that cannot be, and which simulations one asks for."""

from typing import Any

import pytest
import yaml

from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.domain import DOMAIN, Experiment, theory_regimes
from selfloop.domains.linear.simulation.scenario import scenario_of
from selfloop.errors import UserError
from selfloop.planning import study
from selfloop.planning.check import check

BASE = """
experiments:
  a:
    domain: linear
    data: {dimension: 3, rows: 20}
    regimes: [replace, accumulate-subsample]
    iterations: 2
    seeds: [0]
    simulation: {grid: [{dimension: [3, 10], rows: [20, 50]}, {noise_variance: [0.1, 10]}], iterations: 5, seeds: 6}
"""


def experiment(**changes: Any) -> dict[str, Any]:
    """The base config with keys of its experiment replaced."""
    changed: dict[str, Any] = yaml.safe_load(BASE)
    changed["experiments"]["a"].update(changes)
    return changed


def checked(**changes: Any) -> Experiment:
    entry = check(experiment(**changes)).experiments["a"]
    assert isinstance(entry, Experiment)
    return entry


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"data": {"dimension": 3}}, ["experiments.a.data lacks the key 'rows'", "Real rows T"]),
    (
        {"data": {"dimension": 3, "rows": 20, "noise_variance": 0}},
        ["experiments.a.data.noise_variance: 0 is not allowed: it must be more than 0 (Variance σ²"],
    ),
    (
        {"data": {"dimension": 2, "rows": 20, "covariance": [[1, 2], [2, 1]]}},
        ["experiments.a.data.covariance: Sigma is not positive definite", "eigenvalue -1 must be above 0"],
    ),
    (
        {"data": {"dimension": 2, "rows": 20, "covariance": [[1, 2], [0, 1]]}},
        ["experiments.a.data.covariance: Sigma is not a symmetric matrix"],
    ),
    (
        {"data": {"dimension": 2, "rows": 20, "covariance": [[1, 2], [1]]}},
        ["experiments.a.data.covariance: it is not square", "2 numbers in each"],
    ),
    (
        {"data": {"dimension": 3, "rows": 20, "covariance": [[1, 0], [0, 1]]}},
        ["experiments.a.data.covariance: Sigma has shape (2, 2); for d=3 it must be (3, 3)"],
    ),
    (
        {"data": {"dimension": 1, "rows": 20, "covariance": [[1]], "decay": 1}},
        ["experiments.a.data.decay: 1.0 is given with data.covariance"],
    ),
    (
        {"data": {"dimension": 3, "rows": 20, "w_star": [1, 2]}},
        ["experiments.a.data.w_star: w_star has 2 numbers", "d=3 finite numbers"],
    ),
    (
        {"data": {"dimension": 3, "rows": 2}},
        ["experiments.a.data.rows: T is 2 with d=3; least squares needs T >= d, or a ridge penalty"],
    ),
    (
        {"simulation": {"grid": [{"dimension": [3, 10], "rows": [11, 20]}]}},
        [
            "experiments.a.simulation.grid[0]: T is 11 with d=10; a theory curve needs T >= d+2 = 12",
            "write simulation.theory: []",
        ],
    ),
    (
        {"simulation": {"grid": [{}, {"dimension": [10], "rows": [5]}], "theory": []}},
        ["experiments.a.simulation.grid[1]: T is 5 with d=10; least squares needs T >= d"],
    ),
    ({"simulation": {"theory": ["accumulate"]}}, ["simulation.theory: 'accumulate' is not among the experiment's"]),
    ({"simulation": {"theory": ["replac"]}}, ["simulation.theory: 'replac' is not among the experiment's regimes"]),
    ({"simulation": {"grid": [{"ridge": [0.1, -1]}]}}, ["simulation.grid[0].ridge[1]: -1 is not allowed"]),
    (
        {"simulation": {"grid": [{}, {"noise_variance": [1.0]}]}},
        [
            "experiments.a.simulation.grid[1]: dimension 3, rows 20, noise_variance 1.0, ridge 0.0",
            "stands in the grid twice",
        ],
    ),
    ({"simulation": {"grid": [{"rows": []}]}}, ["simulation.grid[0].rows: [] is not allowed"]),
    ({"simulation": {"seeds": 0}}, ["experiments.a.simulation.seeds: 0 is not allowed: it must be at least 1"]),
    ({"sampling": [{"temperature": 1}]}, ["experiments.a.sampling[0]: unknown key 'temperature'", "Allowed: none."]),
    ({"model": {"layers": 1}}, ["experiments.a.model: unknown key 'layers'. Allowed: none."]),
]


@pytest.mark.parametrize(("changes", "expected"), WRONG, ids=[expected[0] for _, expected in WRONG])
def test_what_is_wrong_is_said_in_one_message(changes: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check(experiment(**changes))
    said = str(caught.value)
    assert [part for part in expected if part not in said] == [], said
    assert "\n" not in said
    assert said.endswith((".", ")")), said


def test_a_regime_of_ones_own_is_simulated_by_its_table() -> None:
    changed = experiment(regimes=["replace", "mine"])
    changed["regimes"] = {"mine": {"parts": [{"from": "all", "last": 3}]}}
    plan = study.build(check(changed))
    own = [Chains.model_validate(each.settings) for each in plan.simulations.values()]
    assert {chains.table is None for chains in own if chains.regime == "replace"} == {True}
    assert {len(scenario_of(chains).sets or ()) for chains in own if chains.regime == "mine"} == {5}
    changed["experiments"]["a"]["simulation"]["iterations"] = 2001
    with pytest.raises(UserError, match=r"simulation.iterations: 2,001 are too many for 'mine'"):
        check(changed)


def test_a_domain_without_simulations_takes_none() -> None:
    changed = experiment(
        domain="text",
        data={"source": "packaged", "name": "shakespeare"},
        model={"architecture": "gpt2"},
        regimes=["replace"],
    )
    with pytest.raises(UserError, match=r"experiments\.a: unknown key 'simulation'.*Allowed: like, domain, data,"):
        check(changed)


def test_the_simulation_runs_where_theory_has_nothing_to_say() -> None:
    grid = [{"dimension": [10], "rows": [10, 11]}]
    assert len(DOMAIN.simulations(checked(simulation={"grid": grid, "theory": []}))) == 4
    assert (
        len(DOMAIN.simulations(checked(simulation={}, training={"ridge": 0.5}, data={"dimension": 9, "rows": 3}))) == 2
    )


def test_a_grid_is_every_combination_of_each_line_under_every_regime() -> None:
    asked = DOMAIN.simulations(checked())
    found = [(s["dimension"], s["rows"], s["noise_variance"], s["regime"]) for s in asked]
    wanted = [(3, 20, 1.0), (3, 50, 1.0), (10, 20, 1.0), (10, 50, 1.0), (3, 20, 0.1), (3, 20, 10.0)]
    assert found == [(*values, regime) for values in wanted for regime in ("replace", "accumulate-subsample")]
    assert {(s["iterations"], s["seeds"], s["ridge"]) for s in asked} == {(5, 6, 0.0)}


def test_a_penalty_of_the_grid_takes_the_place_of_the_trainings() -> None:
    asked = DOMAIN.simulations(checked(simulation={"grid": [{"ridge": [0, 0.5]}, {}]}, training={"ridge": 0.1}))
    assert [s["ridge"] for s in asked] == [0.0, 0.0, 0.5, 0.5, 0.1, 0.1]


def test_theory_is_that_of_the_experiments_regimes_unless_told() -> None:
    def of(entry: Experiment) -> list[str]:
        return theory_regimes(entry, entry.simulation)

    assert of(checked()) == ["replace", "accumulate-subsample"]
    assert of(checked(simulation={"theory": ["replace"]}, training={"ridge": 0.1})) == ["replace"]
    assert of(checked(simulation={"theory": []})) == []


def test_simulations_are_shared_by_what_they_are_and_listed_under_each_experiment() -> None:
    changed = experiment()
    changed["experiments"]["b"] = {"like": "a", "seeds": [1]}
    changed["experiments"]["c"] = {"like": "a", "simulation": {"seeds": 7}}
    built = study.build(check(changed))
    assert len(built.simulations) == 2 * 12
    assert [sum(row["experiment"] == name for row in built.simulation_rows()) for name in "abc"] == [12, 12, 12]
    assert {row["file"] for row in built.simulation_rows()} == {one.file for one in built.simulations.values()}


def test_neither_seed_nor_rows_of_the_loop_rename_a_simulation_that_does_not_feel_them() -> None:
    names = set(study.build(check(experiment())).simulations)
    other = experiment(data={"dimension": 3, "rows": 20, "seed": 5}, seeds=[4], iterations=7)
    assert set(study.build(check(other)).simulations) == names


def test_the_domain_shows_figures_of_its_own_only_where_something_is_simulated() -> None:
    entries = {"a": checked(), "b": checked(simulation=None)}
    assert [analysis.step for analysis in DOMAIN.analyses(entries)] == ["plot_theory", "plot_spread", "write_theory"]
    assert [asked["experiment"] for asked in DOMAIN.analyses(entries)[0].asked] == ["a"]
    assert list(DOMAIN.analyses({"b": entries["b"]})) == []
    penalised = checked(simulation={"grid": [{"ridge": [0, 0.1]}]})
    steps = [analysis.step for analysis in DOMAIN.analyses({"a": penalised})]
    assert steps == ["plot_theory", "plot_spread", "plot_ridge", "write_theory"]
    assert (DOMAIN.curve, DOMAIN.samples) == (None, False)
