"""What the study asks of the linear domain while it is planned: names, simulations, and what is wrong with them.

numpy is imported where something is checked, since studies of other domains load this module, too.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.config.filters import Filter, center_problems
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN, Regime
from selfloop.domains.linear.config import Chains, Data, Grid, Model, Sampling, Simulation, Training
from selfloop.domains.protocol import Analysis, Domain
from selfloop.errors import UserError
from selfloop.numbers import size
from selfloop.simulation.config import MOST_ITERATIONS, table_of


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["linear"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    simulation: Simulation | None = None
    """Chains of many seeds that are computed without files between; null for none."""


MOST_NUMBERS = 10**9  # in a matrix of inputs, 8 bytes each
MOST_SIMULATIONS = 10_000
# `theory.REGIMES`, which is not light: these regimes are known by their names and need no table.
CLOSED = ("replace", "accumulate", "replace-multiple", "real", "real-multiple", "accumulate-subsample")


def combinations(
    experiment: Experiment, asked: Simulation, regime: str, regimes: Mapping[str, Regime] = BUILT_IN
) -> Iterator[tuple[str, Chains]]:
    """The combinations of the simulation's grid under a regime, each with its config key.

    A regime with a closed form is known by its name; `regimes` has the tables of others.
    """
    data = experiment.data
    table = None if regime in CLOSED or regime not in regimes else table_of(regimes[regime])
    for place, line in enumerate(asked.grid):
        lists = (line.dimension or [data.dimension], line.rows or [data.rows])
        penalties = line.ridge or [experiment.training.ridge]
        for dimension, rows, noise, ridge in product(*lists, line.noise_variance or [data.noise_variance], penalties):
            yield (
                f"simulation.grid[{place}]",
                Chains(
                    dimension=dimension,
                    rows=rows,
                    noise_variance=noise,
                    covariance=data.covariance,
                    decay=data.decay,
                    w_star=data.w_star,
                    regime=regime,
                    table=table,
                    ridge=ridge,
                    iterations=asked.iterations,
                    seeds=asked.seeds,
                ),
            )


def theory_regimes(experiment: Experiment, asked: Simulation) -> list[str]:
    """The regimes whose prediction is shown beside the simulation, where there is one."""
    return experiment.regimes if asked.theory is None else asked.theory


def _size_problems(experiment: Experiment) -> Iterator[str]:
    asked, data = experiment.simulation, experiment.data
    if data.rows * data.dimension > MOST_NUMBERS:
        yield (
            f"data.rows: {data.rows:,} rows of dimension {data.dimension:,} are more than {MOST_NUMBERS:,} numbers, "
            f"{size(8 * MOST_NUMBERS)} of memory."
        )
    for place, line in enumerate(asked.grid if asked is not None else []):
        lists = (line.dimension or [data.dimension], line.rows or [data.rows])
        if max(lists[0]) * max(lists[1]) > MOST_NUMBERS:
            yield (
                f"simulation.grid[{place}]: {max(lists[1]):,} rows of dimension {max(lists[0]):,} are more than "
                f"{MOST_NUMBERS:,} numbers, {size(8 * MOST_NUMBERS)} of memory."
            )
    settings = sum(
        len(line.dimension or [0]) * len(line.rows or [0]) * len(line.noise_variance or [0])
        for line in (asked.grid if asked is not None else [])
    )
    if settings * len(experiment.regimes) > MOST_SIMULATIONS:
        yield (
            f"simulation.grid: {settings:,} settings under {len(experiment.regimes)} regimes are "
            f"{settings * len(experiment.regimes):,} jobs; at most {MOST_SIMULATIONS:,}."
        )


def _data_problems(experiment: Experiment) -> Iterator[str]:
    from selfloop.domains.linear.simulation.scenario import scenario_of

    data = experiment.data
    covariance = data.covariance
    if covariance is not None and data.decay:
        yield f"data.decay: {data.decay} is given with data.covariance; give one of them."
    elif covariance is not None and len({len(row) for row in covariance} | {len(covariance)}) > 1:
        yield f"data.covariance: it is not square; it needs {len(covariance)} numbers in each of its rows."
    else:
        try:
            scenario_of(next(combinations(experiment, Simulation(), "replace"))[1])
        except UserError as error:
            # The message begins with the symbol; these are the keys that hold it.
            keys = {"T": ".rows", "Sigma": ".covariance", "w_star": ".w_star"}
            yield f"data{keys.get(str(error).split()[0], '')}: {error}."


def _simulation_problems(experiment: Experiment, asked: Simulation) -> Iterator[str]:
    from selfloop.domains.linear import theory
    from selfloop.domains.linear.simulation.scenario import scenario_of

    others = [regime for regime in experiment.regimes if regime not in CLOSED]
    if others and asked.iterations > MOST_ITERATIONS:
        yield (
            f"simulation.iterations: {asked.iterations:,} are too many for '{others[0]}', which has no closed form; at "
            f"most {MOST_ITERATIONS:,}."
        )
        return
    shown = theory_regimes(experiment, asked)
    for regime in shown:
        if regime not in experiment.regimes:
            known = ", ".join(experiment.regimes)
            yield f"simulation.theory: '{regime}' is not among the experiment's regimes ({known})."
    seen: set[tuple[object, ...]] = set()
    for key, chains in combinations(experiment, asked, "replace"):
        setting = tuple(getattr(chains, name) for name in Grid.model_fields)
        if setting in seen:
            values = ", ".join(f"{name} {value}" for name, value in zip(Grid.model_fields, setting, strict=True))
            yield f"{key}: {values} stands in the grid twice."
        seen.add(setting)
        try:
            scenario_of(chains)
            if not chains.ridge and set(shown) - {theory.SUBSAMPLE}:
                theory.check(chains.dimension, chains.rows, chains.noise_variance)
        except UserError as error:
            without = " Leave it out, or write simulation.theory: [] to simulate without theory." if shown else "."
            yield f"{key}: {error}{without}"


SIGNAL = Measure("signal", "Mean square of the signal", "squared unit of y", floor=0.0)
KAPPA = Measure("kappa", "Error carried on, κ", even=1.0)


class Linear(Domain[Experiment, Data, Model, Sampling]):
    """What the study asks of linear data."""

    name = "linear"
    title = "Linear regression"
    described = ("rows", "dimension", "noise_variance")
    experiment = Experiment
    scorers = ("residual", "oracle", "detector", "command")
    weights = True
    preload = ("numpy", "pyarrow.parquet", "pandas", "pydantic", "safetensors.numpy", "tqdm")
    headline = Quantity("excess_risk", "test", "Excess risk", "squared unit of y")
    synthetic = (
        Quantity("drift", "synthetic", "Signal's distance from that of model 1", "squared unit of y"),
        Quantity("signal", "synthetic", "Mean square of the signal", "squared unit of y"),
        Quantity("noise", "synthetic", "Mean square of the noise", "squared unit of y"),
    )
    profile = Profile(
        spread=SIGNAL,
        recall=None,
        flat=(),
        like=None,
        carried=KAPPA,
        narrower="shrink",
        wider="grow",
    )
    profiled = (
        SIGNAL,
        Measure("error", "Length of the parameters' error", floor=0.0),
        KAPPA,
        Measure("cosine", "Cosine of successive errors"),
    )

    def scorer_problems(self, experiment: Experiment, scorer: Filter) -> Iterator[str]:
        """A center of another dimension."""
        yield from center_problems(scorer, experiment.data.dimension, "data.dimension")

    def data_slug(self, data: Data) -> str:
        """For example d10-t100."""
        return f"d{data.dimension}-t{data.rows}"

    def architecture(self, data: Data, model: Model) -> dict[str, object]:
        """The data: there are no weights to begin with, and experiments on other data draw noise of their own."""
        return data.without("reserve").plain

    def model_slug(self, model: Model) -> str:
        """The only model there is."""
        return "linear"

    def model_title(self, model: Model) -> str:
        """The only model; experiments are told apart by their names."""
        return "Linear regression"

    def sampling_slug(self, sampling: Sampling) -> str:
        """The only noise there is."""
        return "gaussian"

    def simulations(self, experiment: Experiment, regimes: Mapping[str, Regime] = BUILT_IN) -> list[dict[str, object]]:
        """All combinations of the simulation's grid under all regimes; none without a simulation."""
        asked = experiment.simulation
        if asked is None:
            return []
        by_regime = [
            [chains for _, chains in combinations(experiment, asked, name, regimes)] for name in experiment.regimes
        ]
        return [chains.plain for setting in zip(*by_regime, strict=True) for chains in setting]

    def problems(self, experiment: Experiment) -> list[str]:
        """What its sections cannot say."""
        if found := list(_size_problems(experiment)):
            return found
        found = list(_data_problems(experiment))
        if found or experiment.simulation is None:
            return found
        return list(_simulation_problems(experiment, experiment.simulation))

    def analyses(
        self, experiments: Mapping[str, Experiment], regimes: Mapping[str, Regime] = BUILT_IN
    ) -> list[Analysis]:
        """Figures and table of the simulations, if an experiment has one."""
        asked = [
            {
                "experiment": name,
                "theory": theory_regimes(entry, entry.simulation),
                "simulations": self.simulations(entry, regimes),
            }
            for name, entry in experiments.items()
            if entry.simulation is not None
        ]
        if not asked:
            return []
        found = [
            Analysis("plot_theory", figures=("theory-linear", "theory-log"), asked=asked),
            Analysis("plot_spread", figures=("spread",), asked=asked),
            Analysis("write_theory", tables=("theory",), asked=asked),
        ]
        settings = [
            Chains.model_validate(each) for entry in experiments.values() for each in self.simulations(entry, regimes)
        ]
        if any(each.ridge and each.regime in ("replace", "accumulate") for each in settings):
            found.insert(2, Analysis("plot_ridge", figures=("ridge",), asked=asked))
        return found


DOMAIN = Linear()
