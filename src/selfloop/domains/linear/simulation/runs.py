"""The simulations of a study, read back from its tidy metrics, and what theory says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation.setting import Setting, setting_of
from selfloop.domains.linear.theory import SUBSAMPLE, Array
from selfloop.errors import UserError

LAW_DRAWS = 200_000  # the 5% quantile is then known to within 2%, which no figure shows


@dataclass(frozen=True)
class Run:
    """One simulated setting of one experiment.

    Attributes:
        experiment: its name.
        setting: what was simulated.
        predicted: whether the study asks for its theory.
        error: ‖ŵ_n - w*‖²_Σ, (seeds, iterations).
    """

    experiment: str
    setting: Setting
    predicted: bool
    error: Array

    @property
    def has_mean(self) -> bool:
        """Whether the error has a mean at every iteration; a sample's mean says nothing where there is none.

        Least squares needs T ≥ d+2 (Lemma 3), and a subsample may hold too few distinct rows, however rarely.
        """
        setting = self.setting
        return setting.ridge > 0 or (setting.d + 2 <= setting.T and setting.regime != SUBSAMPLE)

    def expected(self) -> Array:
        """The predicted mean (iterations,); eqs. 3, 4, 11."""
        s = self.setting
        return theory.expected_error(s.regime, s.d, s.T, s.sigma2, s.iterations, s.covariance)

    def relative_deviation(self) -> float:
        """Predicted standard deviation over predicted mean, the same at each iteration; infinite for T < d+4."""
        s = self.setting
        return float(theory.error_deviation(s.regime, s.d, s.T, s.sigma2, 1)[0] / self.expected()[0])


def runs_of(metrics: pd.DataFrame, experiments: Sequence[Mapping[str, Any]], split: str = "simulation") -> list[Run]:
    """The simulations in the order in which the study asks for them.

    Args:
        metrics: the study's tidy table.
        experiments: {experiment, theory: [regime, …], simulations: [settings, …]} each.
        split: what the simulated rows are marked with.

    Raises:
        UserError: the table lacks a simulation.
    """
    simulated = (metrics["domain"] == "linear") & (metrics["split"] == split) & (metrics["metric"] == "excess_risk")
    tables = dict(iter(metrics[simulated].groupby(["experiment", "model", "regime"], sort=False)))
    found = []
    for asked in experiments:
        for setting in map(setting_of, asked["simulations"]):
            key = (asked["experiment"], setting.label, setting.regime)
            if key not in tables:
                raise UserError(f"no simulation of {setting.label}, {setting.regime}, in {asked['experiment']}.")
            error = tables[key].pivot(index="seed", columns="iteration", values="value").to_numpy(np.float64)
            found.append(Run(asked["experiment"], setting, setting.regime in asked["theory"], error))
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


def comparison(runs: Sequence[Run]) -> pd.DataFrame:
    """Measured over predicted mean error.

    Returns:
        a row per run with a prediction and iteration: experiment, model, regime, dimension, rows, noise_variance,
        seeds, iteration, measured (mean over seeds), predicted, ratio, standard_error (of the ratio, by the law of the
        error; missing where its variance is infinite, T < d+4), and z, the ratio's distance from 1 in standard errors.
    """
    tables = []
    for run in runs:
        if run.predicted:
            seeds, iterations = run.error.shape
            measured, predicted = run.error.mean(axis=0), run.expected()
            spread = run.relative_deviation() / seeds**0.5
            spread = spread if np.isfinite(spread) else np.nan
            s = run.setting
            place: dict[str, Any] = {"experiment": run.experiment, "model": s.label, "regime": s.regime}
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
    """`comparison` with a row per setting and regime instead of one per iteration.

    Returns:
        experiment, model, regime, seeds, iterations, ratio_first, ratio_last (at the first and the last iteration),
        standard_error, within (the share of iterations within 3 standard errors), worst_iteration, worst_ratio and
        worst_z.
    """
    found = []
    for key, own in table.groupby(["experiment", "model", "regime", "seeds"], sort=False):
        ends, error = own["ratio"].iloc[[0, -1]], own["standard_error"].iloc[0]
        if own["z"].isna().all():
            worst: tuple[object, ...] = (np.nan, pd.NA, np.nan, np.nan)
        else:
            distance = own["z"].abs().to_numpy()
            at = own.iloc[int(distance.argmax())]
            worst = ((distance <= 3).mean(), int(at["iteration"]), at["ratio"], at["z"])
        found.append((*key, len(own), *ends, error, *worst))
    names = ["experiment", "model", "regime", "seeds", "iterations", "ratio_first", "ratio_last", "standard_error"]
    return pd.DataFrame(found, columns=[*names, "within", "worst_iteration", "worst_ratio", "worst_z"])
