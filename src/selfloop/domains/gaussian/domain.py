"""What the study asks of the Gaussian domain while it is planned: names, simulations, and what is wrong with them."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.config.filters import Filter, center_problems
from selfloop.config.section import given
from selfloop.data.quantity import Quantity
from selfloop.domains.gaussian.config import Chains, Data, Model, Sampling, Simulation, Training
from selfloop.domains.simulated import VectorDomain
from selfloop.inputs import packaged
from selfloop.numbers import size
from selfloop.simulation import config as simulation
from selfloop.simulation.config import temperature_title


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["gaussian"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    simulation: Simulation | None = None
    """Chains of many seeds that are computed without files between; null for none."""


MOST_NUMBERS = 10**8  # in a matrix of rows, 8 bytes each


def _shape(data: Data) -> tuple[int | None, int | None]:
    """Dimension and number of the rows."""
    if data.source != "packaged":
        return data.dimension, data.rows
    assert data.name is not None
    return packaged.shape(data.name, data.dimension, data.rows, data.test_fraction)


def _problems(experiment: Experiment) -> Iterator[str]:
    data, asked = experiment.data, experiment.simulation
    if data.source == "packaged":
        yield from packaged.problems(data.name, data.dimension, data.rows, data.test_fraction, data.reserve)
        if experiment.training.covariance == "known":
            yield "training.covariance: 'known' needs data whose distribution is known (data.source: normal)."
        if asked is not None and any(line.dimension or line.rows for line in asked.grid):
            yield "simulation.grid: packaged rows have one dimension and number; leave the grid out."
        return
    grid = [] if asked is None else asked.grid
    assert data.dimension is not None and data.rows is not None
    settings = [("data.rows", data.dimension, data.rows)]
    for place, line in enumerate(grid):
        largest = max(line.dimension or [data.dimension]), max(line.rows or [data.rows])
        settings.append((f"simulation.grid[{place}]", *largest))
    for key, dimension, rows in settings:
        if dimension * rows > MOST_NUMBERS:
            yield (
                f"{key}: {rows:,} rows of dimension {dimension:,} are more than {MOST_NUMBERS:,} numbers, "
                f"{size(8 * MOST_NUMBERS)} of memory."
            )


class Gaussian(VectorDomain[Experiment, Data, Model, Sampling]):
    """What the study asks of Gaussian data."""

    name = "gaussian"
    title = "Gaussian"
    described = ("source", "name", "rows", "dimension")
    experiment = Experiment
    chains = Chains
    scorers = ("distance", "oracle", "detector", "command")
    weights = True
    headline = Quantity("mean_error", "test", "Squared error of the mean", "real variance")
    synthetic = (
        Quantity("variance", "synthetic", "Variance, in the real rows'", role="diversity"),
        Quantity("log_determinant", "synthetic", "Covariance determinant to real", "log ratio per dimension"),
    )
    laws = (
        headline,
        Quantity("variance", "test", "Variance", "real variance"),
        Quantity("deviation", "test", "Standard deviation", "real deviation"),
        Quantity("log_determinant", "test", "Covariance determinant to real", "log ratio per dimension"),
    )

    def scorer_problems(self, experiment: Experiment, scorer: Filter) -> Iterator[str]:
        """A center of another dimension."""
        yield from center_problems(scorer, given(_shape(experiment.data)[0]), "the rows' dimension")

    def data_slug(self, data: Data) -> str:
        """For example normal-d10-n100."""
        sizes = "".join(f"-{letter}{value}" for letter, value in (("d", data.dimension), ("n", data.rows)) if value)
        return f"{data.name or data.source}{sizes}"

    def sampling_slug(self, sampling: Sampling) -> str:
        """For example t1."""
        return f"t{sampling.temperature:g}"

    def sampling_title(self, sampling: Sampling) -> str:
        """For example temperature=1.0."""
        return temperature_title(sampling.temperature)

    def setting(self, experiment: Experiment) -> dict[str, object]:
        data = experiment.data
        d, n = _shape(data)
        rows = {"data": data} if data.source == "packaged" else {}
        return {"dimension": d, "rows": n, "covariance": experiment.training.covariance, **rows}

    def measures(self, chains: simulation.Chains, metric: str) -> bool:
        """Where the variance is known, the mean's error alone; singular covariances have no determinant."""
        assert isinstance(chains, Chains)
        if chains.covariance == "known":
            return metric == "mean_error"
        return metric != "log_determinant" or chains.rows > chains.dimension

    def own_problems(self, experiment: Experiment) -> Iterator[str]:
        return _problems(experiment)


DOMAIN = Gaussian()
