"""The simulations of a study, read from its tidy metrics, and the predictions of theory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from selfloop.domains.linear import theory
from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.simulation.scenario import Scenario, scenario_of
from selfloop.domains.linear.theory import SUBSAMPLE, Array
from selfloop.errors import UserError

LAW_DRAWS = 200_000  # the 5% quantile is then accurate to 2%, invisible in a figure


@dataclass(frozen=True)
class Result:
    """One simulated scenario of one experiment.

    Attributes:
        experiment: its name.
        scenario: what was simulated.
        predicted: whether the study requests its theory.
        error: ‖ŵ_n - w*‖²_Σ, (seeds, iterations).
    """

    experiment: str
    scenario: Scenario
    predicted: bool
    error: Array

    @property
    def has_mean(self) -> bool:
        """Whether the error has a finite mean at every iteration.

        Least squares needs T ≥ d+2 (Lemma 3), and a subsample may hold too few distinct rows, however rarely.
        """
        scenario = self.scenario
        return scenario.ridge > 0 or (scenario.d + 2 <= scenario.T and scenario.regime != SUBSAMPLE)

    def expected(self) -> Array:
        """The predicted mean (iterations,); eqs. 3, 4, 11."""
        s = self.scenario
        return theory.expected_error(s.regime, s.d, s.T, s.sigma2, s.iterations, s.covariance)

    def relative_deviation(self) -> float:
        """Predicted standard deviation over predicted mean, the same at each iteration; infinite for T < d+4."""
        s = self.scenario
        return float(theory.error_deviation(s.regime, s.d, s.T, s.sigma2, 1)[0] / self.expected()[0])


def results_of(
    metrics: pd.DataFrame, experiments: Sequence[Mapping[str, Any]], split: str = "simulation"
) -> list[Result]:
    """The simulations in the order of the study.

    Args:
        metrics: the study's tidy table.
        experiments: {experiment, theory: [regime, …], simulations: [settings, …]} each.
        split: of the simulated rows.

    Raises:
        UserError: the table lacks a simulation.
    """
    simulated = (metrics["domain"] == "linear") & (metrics["split"] == split) & (metrics["metric"] == "excess_risk")
    tables = dict(iter(metrics[simulated].groupby(["experiment", "model", "regime"], sort=False)))
    found = []
    for asked in experiments:
        for scenario in map(scenario_of, map(Chains.model_validate, asked["simulations"])):
            key = (asked["experiment"], scenario.label, scenario.regime)
            if key not in tables:
                raise UserError(f"no simulation of {scenario.label}, {scenario.regime}, in {asked['experiment']}.")
            error = tables[key].pivot(index="seed", columns="iteration", values="value").to_numpy(np.float64)
            found.append(Result(asked["experiment"], scenario, scenario.regime in asked["theory"], error))
    return found


def law_quantiles(regime: str, d: int, T: int, iterations: int, shares: Sequence[float]) -> Array:
    """Quantiles (shares, iterations) of the error in units of sigma2: of c_n χ²(d)/χ²(T-d+1), from a fixed sample.

    Raises:
        UserError: the regime has no formula.
    """
    return np.outer(np.quantile(_ratios(d, T), shares), theory.growth(regime, iterations))


@lru_cache(maxsize=100)
def _ratios(d: int, T: int) -> Array:
    generator = np.random.default_rng([d, T])
    return np.asarray(generator.chisquare(d, LAW_DRAWS) / generator.chisquare(T - d + 1, LAW_DRAWS))


def comparison(results: Sequence[Result]) -> pd.DataFrame:
    """Measured over predicted mean error.

    Returns:
        a row per result with a prediction and iteration: experiment, model, regime, dimension, rows, noise_variance,
        seeds, iteration, measured (mean over seeds), predicted, ratio, standard_error (of the ratio, by the law of the
        error; missing where its variance is infinite, T < d+4), and z, the ratio's distance from 1 in standard errors.
    """
    tables = []
    for result in results:
        if result.predicted:
            seeds, iterations = result.error.shape
            measured, predicted = result.error.mean(axis=0), result.expected()
            spread = result.relative_deviation() / seeds**0.5
            spread = spread if np.isfinite(spread) else np.nan
            s = result.scenario
            place: dict[str, object] = {"experiment": result.experiment, "model": s.label, "regime": s.regime}
            place |= {"dimension": s.d, "rows": s.T, "noise_variance": s.sigma2, "seeds": seeds}
            values = {"iteration": np.arange(1, iterations + 1), "measured": measured, "predicted": predicted}
            ratio = measured / predicted
            tables.append(
                pd.DataFrame({**place, **values, "ratio": ratio, "standard_error": spread, "z": (ratio - 1) / spread})
            )
    if not tables:
        names = ["experiment", "model", "regime", "dimension", "rows", "noise_variance", "seeds", "iteration"]
        return pd.DataFrame(columns=[*names, "measured", "predicted", "ratio", "standard_error", "z"])
    return pd.concat(tables, ignore_index=True)


def comparison_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`comparison` with a row per scenario and regime instead of one per iteration.

    Returns:
        experiment, model, regime, seeds, iterations, ratio_first, ratio_last (at the first and the last iteration),
        standard_error, within (the share of iterations within 3 standard errors), worst_iteration, worst_ratio and
        worst_z.
    """
    lines = []
    for key, points in table.groupby(["experiment", "model", "regime", "seeds"], sort=False):
        ends, error = points["ratio"].iloc[[0, -1]], points["standard_error"].iloc[0]
        if points["z"].isna().all():
            worst: tuple[object, ...] = (np.nan, pd.NA, np.nan, np.nan)
        else:
            distance = points["z"].abs().to_numpy()
            at = points.iloc[int(distance.argmax())]
            worst = ((distance <= 3).mean(), int(at["iteration"]), at["ratio"], at["z"])
        lines.append((*key, len(points), *ends, error, *worst))
    names = ["experiment", "model", "regime", "seeds", "iterations", "ratio_first", "ratio_last", "standard_error"]
    return pd.DataFrame(lines, columns=[*names, "within", "worst_iteration", "worst_ratio", "worst_z"])
