"""Simulations read back from the tidy table, their comparison with theory, and the figures drawn from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes

from selfloop.analysis.read import read_tidy
from selfloop.analysis.table import Table
from selfloop.data import collect
from selfloop.data.quantity import Quantity
from selfloop.data.tidy import METRICS
from selfloop.domains.linear import theory
from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.figures import ridge_figure, spread_figure, theory_figure
from selfloop.domains.linear.simulation.prediction import approximate_median
from selfloop.domains.linear.simulation.results import (
    Result,
    Simulated,
    comparison,
    comparison_summary,
    law_quantiles,
    results_of,
)
from selfloop.domains.linear.simulation.scenario import Scenario, scenario_of
from selfloop.domains.linear.simulation.simulate import simulate
from selfloop.domains.linear.steps import simulate_chains
from selfloop.domains.linear.steps.write_theory import page
from selfloop.errors import UserError
from selfloop.jobs.job import Job

SETTINGS: dict[str, Any] = {
    "dimension": 3,
    "rows": 10,
    "noise_variance": 2.0,
    "covariance": None,
    "decay": 0.0,
    "w_star": None,
    "ridge": 0.0,
    "iterations": 4,
    "seeds": 5,
}


def run_of(
    regime: str, d: int = 3, T: int = 10, iterations: int = 20, sigma2: float = 2.0, predicted: bool = True, **more: Any
) -> Result:
    scenario = Scenario(d, T, sigma2, regime, iterations, **more)
    return Result("e", scenario, predicted, simulate(scenario, range(12)).error)


@pytest.fixture
def metrics(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A collected table of three simulations, one of which two experiments share; and what was asked."""
    asked = []
    for name, regimes in {"a": ("replace", "accumulate-subsample"), "b": ("accumulate", "replace")}.items():
        simulations = [{**SETTINGS, "regime": regime} for regime in regimes]
        asked.append({"experiment": name, "theory": ["replace"], "simulations": simulations})
    rows = []
    for entry in asked:
        for settings in entry["simulations"]:
            path = tmp_path / f"{settings['regime']}.parquet"
            simulate_chains.run(Job({}, {"measurements": str(path)}, simulate_chains.Params(simulation=settings)))
            rows.append({"experiment": entry["experiment"], "domain": "linear", "file": str(path)})
    outputs = {name: str(tmp_path / name) for name in ("metrics", "learning_curves", "profile", "chains")}
    collect.run(Job({}, outputs, collect.Params(chains=[], simulations=rows)))
    return tmp_path / "metrics", asked


def test_simulations_are_collected_under_every_experiment_that_asked(metrics: Any) -> None:
    path, _ = metrics
    table = pq.read_table(path)
    assert table.schema.equals(METRICS)
    assert table.num_rows == 4 * 5 * 4 + 3 * 4 + 4  # theory of three simulations, and the error of w = 0
    first = table.slice(1, 1).to_pylist()[0]
    value = simulate(scenario_of(Chains(**SETTINGS, regime="replace")), range(5)).error[0, 1]
    assert first == {
        "experiment": "a",
        "domain": "linear",
        "model": "d=3, T=10, sigma2=2.0",
        "regime": "replace",
        "sampling": "gaussian",
        "seed": 0,
        "iteration": 2,
        "part": None,
        "split": "simulation",
        "metric": "excess_risk",
        "value": value,
    }


def shown(table: pd.DataFrame) -> Table:
    return page(table, Quantity("excess_risk", "test", "Excess risk"))


def test_runs_are_read_back_as_they_were_simulated(metrics: Any) -> None:
    path, asked = metrics
    results = results_of(read_tidy(path, METRICS), list(map(Simulated.model_validate, asked)))
    found = [(result.experiment, result.scenario.regime, result.predicted) for result in results]
    assert found == [
        ("a", "replace", True),
        ("a", "accumulate-subsample", False),
        ("b", "accumulate", False),
        ("b", "replace", True),
    ]
    for result in results:
        assert np.array_equal(result.error, simulate(result.scenario, range(5)).error)


def test_a_simulation_that_is_not_there_is_named(metrics: Any) -> None:
    path, asked = metrics
    asked[1]["simulations"][0] = {**SETTINGS, "rows": 11, "regime": "replace"}
    with pytest.raises(UserError, match=r"no simulation of d=3, T=11, sigma2=2\.0, replace, in b"):
        results_of(read_tidy(path, METRICS), list(map(Simulated.model_validate, asked)))


def test_measured_over_predicted_by_hand() -> None:
    """d=1, T=10: the mean is sigma2/8 · n, and the deviation of χ²(1)/χ²(10) is √(3/(8·6) - 1/64)."""
    error = np.array([[0.2, 0.5], [0.4, 0.7]])
    table = comparison([Result("e", Scenario(1, 10, 2.0, "replace", 2), True, error)])
    assert table["measured"].tolist() == pytest.approx([0.3, 0.6])
    assert table["predicted"].tolist() == pytest.approx([0.25, 0.5])
    assert table["ratio"].tolist() == pytest.approx([1.2, 1.2])
    spread = np.sqrt(3 / 48 - 1 / 64) * 8 / np.sqrt(2)
    assert table["standard_error"].tolist() == pytest.approx([spread, spread])
    assert table["z"].tolist() == pytest.approx([0.2 / spread] * 2)
    assert table[["seeds", "iteration"]].values.tolist() == [[2, 1], [2, 2]]


def test_the_summary_names_the_worst_iteration_and_counts_those_within_three_errors() -> None:
    predicted = theory.expected_error("accumulate", 2, 100, 1.0, 4)
    scenario = Scenario(2, 100, 1.0, "accumulate", 4)
    spread = Result("e", scenario, True, np.ones((1, 4))).relative_error()[0]
    error = np.tile(predicted * (1 + np.array([1, -4, 2, 0]) * spread / 10), (100, 1))
    (row,) = comparison_summary(comparison([Result("e", scenario, True, error)])).to_dict("records")
    assert row["worst_iteration"] == 2
    assert row["worst_z"] == pytest.approx(-4)
    assert row["within"] == 0.75
    assert row["ratio_first"] == pytest.approx(1 + spread / 10)
    assert row["ratio_last"] == pytest.approx(1)
    notes = shown(comparison([Result("e", scenario, True, error)])).notes
    assert notes[-1].startswith("3 of 4 points (setting, iteration) lie within 3 SE (75.00%)")


def test_an_infinite_variance_has_no_standard_error_and_no_verdict() -> None:
    table = comparison([run_of("replace", d=8, T=10)])
    assert table["standard_error"].isna().all()
    assert not any("lie within 3 SE" in note for note in shown(table).notes)
    assert shown(table).rows[0][1:4] == ["d=8, T=10, sigma2=2.0", "replace", "12"]


def test_what_has_no_prediction_has_no_row() -> None:
    for result in (run_of("accumulate-subsample", T=4), run_of("replace", predicted=False)):
        assert len(comparison([result])) == 0
        assert shown(comparison([result])).rows == []


def test_a_median_is_compared_with_its_approximation_without_a_verdict() -> None:
    result = run_of("accumulate-subsample")
    table = comparison([result])
    assert set(table["prediction"]) == {"median, approximation"}
    assert np.allclose(table["measured"], np.median(result.error, axis=0))
    assert np.allclose(table["predicted"], approximate_median(result.scenario))
    assert table["z"].isna().all()
    assert shown(table).rows[0][4] == "median, approximation"


def test_ridge_is_compared_with_its_own_law_by_the_spread_of_the_seeds() -> None:
    result = run_of("accumulate", ridge=0.2)
    table = comparison([result])
    predicted = theory.ridge_error("accumulate", 3, 10, 2.0, 0.2, 20)
    assert np.allclose(table["predicted"], predicted)
    assert np.allclose(table["standard_error"], result.error.std(axis=0, ddof=1) / 12**0.5 / predicted)
    assert set(table["ridge"]) == {0.2}


def test_a_single_seed_under_ridge_has_no_standard_error() -> None:
    table = comparison([Result("e", Scenario(3, 10, 1.0, "replace", 2, ridge=0.1), True, np.ones((1, 2)))])
    assert table["standard_error"].isna().all()


def test_the_laws_quantiles_are_those_of_the_f_distribution() -> None:
    """For d=2 the tail of χ²(2)/χ²(m) is (1 + x)^(-m/2), so the q-quantile is (1-q)^(-2/m) - 1; here m = 9."""
    shares = (0.05, 0.5, 0.95)
    found = law_quantiles(Scenario(2, 10, 1.0, "replace", 3), shares)
    exact = np.array([(1 - q) ** (-2 / 9) - 1 for q in shares])
    assert found[:, 0] == pytest.approx(exact, rel=0.03)
    assert np.allclose(found[:, 2], 3 * found[:, 0])


def panels(figure: Any) -> dict[tuple[str, str], Axes]:
    """Panels by the regime left of their row and the dimension above their column."""
    axes = figure.axes
    columns = [one.get_title() for one in axes if one.get_title()]
    rows = [axes[place : place + len(columns)] for place in range(0, len(axes), len(columns))]
    return {
        (row[0].get_ylabel().replace("\n", " "), title): one
        for row in rows
        for title, one in zip(columns, row, strict=True)
    }


def caption(figure: Any) -> str:
    return str(figure.get_supxlabel()).replace("\n", " ")


def test_the_theory_figure_has_a_mean_a_curve_and_a_bound() -> None:
    results = [run_of(regime, d, T) for regime in theory.REGIMES for d in (1, 3) for T in (10, 30)]
    figure = theory_figure(results, scale="log")
    found = panels(figure)
    assert len(found) == 6 * 2
    measured, predicted, bound = found["Accumulate", "d = 3"].lines[:3]  # of the larger T
    result = next(r for r in results if (r.scenario.regime, r.scenario.d, r.scenario.T) == ("accumulate", 3, 30))
    assert np.allclose(measured.get_ydata(), result.error.mean(axis=0) / 2)
    assert np.allclose(predicted.get_ydata(), theory.expected_error("accumulate", 3, 30, 1.0, 20))
    assert np.allclose(bound.get_ydata(), 3 / 26 * np.pi**2 / 6)
    assert [len(found[name, "d = 1"].lines) for name in ("Replace", "Replace-Multiple")] == [4, 4]
    subsample = found["Accumulate-Subsample", "d = 1"].lines
    assert len(subsample) == 4
    result = next(
        r for r in results if (r.scenario.regime, r.scenario.d, r.scenario.T) == ("accumulate-subsample", 1, 10)
    )
    assert np.allclose(subsample[2].get_ydata(), np.median(result.error, axis=0) / 2)
    assert np.allclose(subsample[3].get_ydata(), approximate_median(result.scenario) / 2)
    assert subsample[3].get_linestyle() not in (predicted.get_linestyle(), bound.get_linestyle())
    legend = [text.get_text() for each in figure.legends for text in each.get_texts()]
    assert legend[-3:] == ["predicted mean", "approximate median", "bound: π²/6 times n=1"]
    assert {axes.get_yscale() for axes in found.values()} == {"log"}
    assert caption(figure) == "Lines are means over seeds; medians for Accumulate-Subsample, where no mean exists."


def test_the_linear_figure_shows_the_first_ten_iterations() -> None:
    figure = theory_figure([run_of("replace")], scale="linear", title="Mine")
    (axes,) = figure.axes
    assert [len(line.get_ydata()) for line in axes.lines] == [10, 10]
    assert axes.get_yscale() == "linear"
    assert figure.get_suptitle() == "Mine"
    assert caption(figure) == "Lines are means over seeds."


def test_where_there_is_no_mean_a_median_is_drawn_and_said() -> None:
    result = run_of("replace", d=3, T=4)
    figure = theory_figure([result], scale="log")
    (line,) = figure.axes[0].lines
    assert np.allclose(line.get_ydata(), np.median(result.error, axis=0) / 2)
    assert "medians for T=4, d=3, where no mean exists" in caption(figure)


def test_noise_variances_are_averaged_together_unless_a_penalty_feels_them() -> None:
    both = [run_of("replace", sigma2=sigma2) for sigma2 in (0.5, 2.0)]
    line = theory_figure(both, scale="log").axes[0].lines[0]
    expected = np.concatenate([result.error / result.scenario.sigma2 for result in both]).mean(axis=0)
    assert np.allclose(line.get_ydata(), expected)
    for figure in (theory_figure(both, scale="log"), spread_figure(both)):
        assert "Seeds of σ² = 0.5, 2 are taken together." in caption(figure)
    penalised = [run_of("replace", sigma2=sigma2, ridge=0.1) for sigma2 in (0.5, 2.0)]
    lines = theory_figure(penalised, scale="log").axes[0].lines
    assert len(lines) == 4
    for law, sigma2 in zip(lines[1::2], (0.5, 2.0), strict=True):
        assert np.allclose(law.get_ydata() * sigma2, theory.ridge_error("replace", 3, 10, sigma2, 0.1, 20))


def test_ridge_has_neither_the_bound_nor_the_quantiles_of_least_squares() -> None:
    result = run_of("accumulate", ridge=0.1)
    assert len(theory_figure([result], scale="log").axes[0].lines) == 2
    assert len(spread_figure([result]).axes[0].lines) == 1
    assert "law" not in caption(spread_figure([result]))


def test_the_ridge_figure_has_a_line_and_a_law_per_penalty_and_the_bound_of_accumulate() -> None:
    plain = [run_of(regime, d=3, T=10) for regime in ("replace", "accumulate", "accumulate-subsample")]
    penalised = [run_of(regime, d=3, T=10, ridge=0.3) for regime in ("replace", "accumulate")]
    figure = ridge_figure([*plain, run_of("accumulate", d=3, T=12), *penalised])
    replaced, accumulated = figure.axes
    assert (replaced.get_ylabel(), accumulated.get_ylabel()) == ("Replace", "Accumulate")
    assert replaced.get_title() == "d=3, T=10, sigma2=2.0"
    assert (len(replaced.lines), len(accumulated.lines)) == (4, 5)
    means = penalised[1].error.mean(axis=0)
    law = theory.ridge_error("accumulate", 3, 10, 2.0, 0.3, 20)
    assert np.allclose(accumulated.lines[2].get_ydata(), means / means[0])
    assert np.allclose(accumulated.lines[3].get_ydata(), law / law[0])
    assert np.allclose(accumulated.lines[4].get_ydata(), np.pi**2 / 6)


def test_the_spread_figure_has_quantiles_of_the_seeds_and_of_the_law() -> None:
    result = run_of("accumulate")
    figure = spread_figure([result, run_of("accumulate-subsample")])
    found = panels(figure)
    axes = found["Accumulate", "d = 3"]
    median, *law = axes.lines
    assert np.allclose(median.get_ydata(), np.median(result.error, axis=0) / 2)
    assert np.allclose(
        [line.get_ydata() for line in law], law_quantiles(Scenario(3, 10, 1.0, "accumulate", 20), (0.05, 0.5, 0.95))
    )
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(np.quantile(result.error, 0.95, axis=0).max() / 2)
    assert len(found["Accumulate-Subsample", "d = 3"].lines) == 1
