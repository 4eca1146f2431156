"""The simulations of a study, read from its tidy metrics, and the predictions of theory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from pydantic import BaseModel

from selfloop.domains.linear import theory
from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.simulation import prediction
from selfloop.domains.linear.simulation.scenario import Scenario, scenario_of
from selfloop.domains.linear.theory import Array
from selfloop.errors import UserError

LAW, APPROXIMATION = "mean", "median, approximation"  # what a measurement is compared with


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
        """Whether the error has a finite mean at every iteration."""
        return prediction.has_mean(self.scenario)

    @property
    def has_law(self) -> bool:
        """Whether the study requests its theory, and the error's whole law is known: that of least squares."""
        return self.predicted and self.has_mean and not self.scenario.ridge

    @property
    def middle(self) -> Array:
        """The mean over seeds, or where the error has none, the median, (iterations,)."""
        return np.asarray(self.error.mean(axis=0) if self.has_mean else np.median(self.error, axis=0))

    @cached_property
    def expected(self) -> Array | None:
        """The predicted mean (iterations,), if the study requests it and there is one."""
        return prediction.expected_error(self.scenario) if self.predicted else None

    @cached_property
    def approximate(self) -> Array | None:
        """The approximate median (iterations,), if the study requests it and there is one."""
        return prediction.approximate_median(self.scenario) if self.predicted else None

    def relative_error(self) -> Array:
        """The standard error of the mean over its predicted value, (iterations,).

        By the law of least squares, the same at each iteration and missing where the variance is infinite, T < d+4; of
        the seeds themselves under ridge; missing for a median.
        """
        seeds, iterations = self.error.shape
        s = self.scenario
        if self.has_law:
            first = theory.error_deviation("replace", s.d, s.T, s.sigma2, 1)[0] / theory.first_error(s.d, s.T, s.sigma2)
            return np.asarray(np.full(iterations, first if np.isfinite(first) else np.nan) / seeds**0.5)
        if self.expected is not None and seeds > 1:
            return np.asarray(self.error.std(axis=0, ddof=1) / seeds**0.5 / self.expected)
        return np.full(iterations, np.nan)


class Simulated(BaseModel):
    """An experiment with simulations.

    Attributes:
        theory: the regimes whose prediction is shown.
        simulations: the settings.
    """

    experiment: str
    theory: list[str]
    simulations: list[Chains]


def results_of(metrics: pd.DataFrame, experiments: Sequence[Simulated], split: str = "simulation") -> list[Result]:
    """The simulations in the order of the study.

    Args:
        metrics: the study's tidy table.
        experiments: those that are simulated.
        split: of the simulated rows.

    Raises:
        UserError: the table lacks a simulation.
    """
    simulated = (metrics["domain"] == "linear") & (metrics["split"] == split) & (metrics["metric"] == "excess_risk")
    tables = dict(iter(metrics[simulated].groupby(["experiment", "model", "regime"], sort=False)))
    found = []
    for asked in experiments:
        for scenario in map(scenario_of, asked.simulations):
            key = (asked.experiment, scenario.label, scenario.regime)
            if key not in tables:
                raise UserError(f"no simulation of {scenario.label}, {scenario.regime}, in {asked.experiment}.")
            error = tables[key].pivot(index="seed", columns="iteration", values="value").to_numpy(np.float64)
            found.append(Result(asked.experiment, scenario, scenario.regime in asked.theory, error))
    return found


def law_quantiles(scenario: Scenario, shares: Sequence[float]) -> Array:
    """Quantiles (shares, iterations) of the error in units of sigma2: of c_n χ²(d)/χ²(T-d+1), from a fixed sample."""
    ratios = theory.error_ratios(scenario.d, scenario.T)
    return np.outer(np.quantile(ratios, shares), prediction.growth(scenario))


def comparison(results: Sequence[Result]) -> pd.DataFrame:
    """Measured over predicted error: means by the laws of least squares and ridge, and medians by the approximation.

    Returns:
        a row per result with a prediction and iteration: experiment, model, regime, dimension, rows, noise_variance,
        ridge, seeds, prediction (LAW or APPROXIMATION), iteration, measured (over seeds), predicted, ratio,
        standard_error (of the ratio, as `Result.relative_error`), and z, its distance from 1 in standard errors.
    """
    tables = []
    for result in results:
        law = result.expected
        predicted = result.approximate if law is None else law
        if predicted is not None:
            seeds, iterations = result.error.shape
            spread, ratio = result.relative_error(), result.middle / predicted
            s = result.scenario
            place: dict[str, object] = {"experiment": result.experiment, "model": s.label, "regime": s.regime}
            place |= {"dimension": s.d, "rows": s.T, "noise_variance": s.sigma2, "ridge": s.ridge, "seeds": seeds}
            place["prediction"] = APPROXIMATION if law is None else LAW
            values = {"iteration": np.arange(1, iterations + 1), "measured": result.middle, "predicted": predicted}
            tables.append(
                pd.DataFrame({**place, **values, "ratio": ratio, "standard_error": spread, "z": (ratio - 1) / spread})
            )
    if not tables:
        names = ["experiment", "model", "regime", "dimension", "rows", "noise_variance", "ridge", "seeds", "prediction"]
        return pd.DataFrame(columns=[*names, "iteration", "measured", "predicted", "ratio", "standard_error", "z"])
    return pd.concat(tables, ignore_index=True)


def comparison_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`comparison` with a row per scenario and regime instead of one per iteration.

    Returns:
        experiment, model, regime, seeds, prediction, iterations, ratio_first, ratio_last (at the first and the last
        iteration), standard_error (at the last), within (the share of iterations within 3 standard errors),
        worst_iteration, worst_ratio and worst_z.
    """
    lines = []
    for key, points in table.groupby(["experiment", "model", "regime", "seeds", "prediction"], sort=False):
        ends, error = points["ratio"].iloc[[0, -1]], points["standard_error"].iloc[-1]
        if points["z"].isna().all():
            worst: tuple[object, ...] = (np.nan, pd.NA, np.nan, np.nan)
        else:
            distance = points["z"].abs().to_numpy()
            at = points.iloc[int(distance.argmax())]
            worst = ((distance <= 3).mean(), int(at["iteration"]), at["ratio"], at["z"])
        lines.append((*key, len(points), *ends, error, *worst))
    names = ["experiment", "model", "regime", "seeds", "prediction", "iterations", "ratio_first", "ratio_last"]
    return pd.DataFrame(
        lines, columns=[*names, "standard_error", "within", "worst_iteration", "worst_ratio", "worst_z"]
    )
