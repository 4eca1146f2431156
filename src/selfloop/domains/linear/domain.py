"""What the study asks of the linear domain while it is planned: names, simulations, and what is wrong with them.

numpy is imported where something is checked, since studies of other domains load this module, too.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.data.quantity import Quantity
from selfloop.domains.linear.config import Data, Model, Sampling, Simulation, Training
from selfloop.domains.protocol import Analysis, Domain, Settings
from selfloop.errors import UserError


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["linear"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    simulation: Simulation | None = None
    """Chains of many seeds that are computed without files between; null for none."""


GRID = ("dimension", "rows", "noise_variance")


def data_slug(data: Settings) -> str:
    """For example d10-t100."""
    return f"d{data['dimension']}-t{data['rows']}"


def model_slug(_: Settings) -> str:
    """The only model there is."""
    return "linear"


def model_title(_: Settings) -> str:
    """The only model there is; tables and figures tell experiments apart by their names."""
    return "Linear regression"


def sampling_slug(_: Settings) -> str:
    """The only noise there is."""
    return "gaussian"


def combinations(experiment: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of the simulation's grid, without a regime, each after the key that asks for it."""
    data, asked = experiment["data"], experiment["simulation"]
    common = {key: data[key] for key in ("covariance", "decay", "w_star")}
    common |= {"ridge": experiment["training"]["ridge"], "iterations": asked["iterations"], "seeds": asked["seeds"]}
    for place, line in enumerate(asked["grid"]):
        for values in product(*(line.get(key, [data[key]]) for key in GRID)):
            yield f"simulation.grid[{place}]", {**common, **dict(zip(GRID, values, strict=True))}


def simulations(experiment: Settings) -> list[Settings]:
    """Every setting of the simulation under every regime; none where none is asked for."""
    if experiment["simulation"] is None:
        return []
    settings = [setting for _, setting in combinations(experiment)]
    return [{**setting, "regime": regime} for setting in settings for regime in experiment["regimes"]]


def theory_regimes(experiment: Settings) -> list[str]:
    """The regimes whose prediction is shown beside the simulation."""
    from selfloop.domains.linear.theory import UPDATES

    asked: list[str] | None = experiment["simulation"]["theory"]
    if asked is not None:
        return asked
    return [] if experiment["training"]["ridge"] else [name for name in experiment["regimes"] if name in UPDATES]


def problems(experiment: Settings) -> list[str]:
    """What the schema cannot say; one sentence each, beginning with the key within the experiment."""
    return list(_data_problems(experiment)) or (
        list(_simulation_problems(experiment)) if experiment["simulation"] is not None else []
    )


def _data_problems(experiment: Settings) -> Iterator[str]:
    from selfloop.domains.linear.simulation.scenario import scenario_of

    data = experiment["data"]
    covariance = data["covariance"]
    if covariance is not None and data["decay"]:
        yield f"data.decay: {data['decay']} is given with data.covariance; give one of them."
    elif covariance is not None and len({len(row) for row in covariance} | {len(covariance)}) > 1:
        yield f"data.covariance: it is not square; it needs {len(covariance)} numbers in each of its rows."
    else:
        try:
            scenario_of({**data, **experiment["training"], "regime": "replace", "iterations": 1})
        except UserError as error:
            # The message begins with the symbol; these are the keys that hold it.
            keys = {"T": ".rows", "Sigma": ".covariance", "w_star": ".w_star"}
            yield f"data{keys.get(str(error).split()[0], '')}: {error}."


def _simulation_problems(experiment: Settings) -> Iterator[str]:
    from selfloop.domains.linear import theory
    from selfloop.domains.linear.simulation.scenario import scenario_of

    for regime in experiment["regimes"]:
        if regime not in theory.REGIMES:
            yield (
                f"regimes: '{regime}' cannot be simulated, only {', '.join(theory.REGIMES)}; "
                "run it in an experiment whose simulation is null."
            )
            return
    shown = theory_regimes(experiment)
    for regime in shown:
        try:
            theory.update_of(regime)
        except UserError as error:
            yield f"simulation.theory: {error}"
            return
        if regime not in experiment["regimes"]:
            yield f"simulation.theory: '{regime}' is not among the experiment's regimes."
    ridge = experiment["training"]["ridge"]
    if shown and ridge:
        yield (
            f"simulation.theory: [{', '.join(shown)}] is asked for with training.ridge {ridge}; "
            "the formulas are those of least squares, ridge 0. Write [] to simulate without theory."
        )
    seen: list[Mapping[str, Any]] = []
    for key, settings in combinations(experiment):
        if settings in seen:
            values = ", ".join(f"{name} {settings[name]}" for name in GRID)
            yield f"{key}: {values} stands in the grid twice."
        seen.append(settings)
        try:
            scenario_of({**settings, "regime": experiment["regimes"][0]})
            for regime in shown[:1]:
                theory.expected_error(regime, settings["dimension"], settings["rows"], settings["noise_variance"], 1)
        except UserError as error:
            without = " Leave it out, or write simulation.theory: [] to simulate without theory." if shown else "."
            yield f"{key}: {error}{without}"


def analyses(experiments: Mapping[str, Settings]) -> list[Analysis]:
    """The figures and the table of the simulations, where an experiment asks for one."""
    asked = [
        {"experiment": name, "theory": theory_regimes(entry), "simulations": simulations(entry)}
        for name, entry in experiments.items()
        if entry["simulation"] is not None
    ]
    if not asked:
        return []
    return [
        Analysis("plot_theory", figures=("theory-linear", "theory-log"), asked=asked),
        Analysis("plot_spread", figures=("spread",), asked=asked),
        Analysis("write_theory", tables=("theory",), asked=asked),
    ]


DOMAIN = Domain(
    name="linear",
    title="Linear regression",
    described=("rows", "dimension", "noise_variance"),
    experiment=Experiment,
    data_slug=data_slug,
    model_slug=model_slug,
    model_title=model_title,
    sampling_slug=sampling_slug,
    sampling_title=sampling_slug,
    files=lambda _: [],
    tokenizer=lambda _: None,
    preload=("numpy", "pyarrow.parquet", "pandas", "safetensors.numpy", "tqdm"),
    problems=problems,
    headline=Quantity("excess_risk", "test", "Excess risk", "squared unit of y"),
    synthetic=(
        Quantity("drift", "synthetic", "Signal's distance from that of model 1", "squared unit of y"),
        Quantity("signal", "synthetic", "Mean square of the signal", "squared unit of y"),
        Quantity("noise", "synthetic", "Mean square of the noise", "squared unit of y"),
    ),
    simulations=simulations,
    analyses=analyses,
)
