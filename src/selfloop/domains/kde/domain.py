"""What the study asks of the kde domain while it is planned: names, simulations, and what is wrong with them."""

import importlib.util
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.config.filters import Filter, center_problems
from selfloop.data.quantity import Quantity
from selfloop.domains.kde.config import Chains, Data, Model, Sampling, Simulation, Training
from selfloop.domains.simulated import VectorDomain


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["kde"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    simulation: Simulation | None = None
    """Chains of many seeds that are computed without files between; null for none."""


def _problems(experiment: Experiment) -> Iterator[str]:
    source = experiment.data.source
    if source != "normal" and importlib.util.find_spec("sklearn") is None:
        yield f"data.source: '{source}' needs the Python package `scikit-learn`, which is not installed."
    if source != "normal" and experiment.data.dimension is not None:
        yield f"data.dimension: {experiment.data.dimension} is given with source: {source}; leave it out."


class Kernels(VectorDomain[Experiment, Data, Model, Sampling]):
    """What the study asks of kernel density estimates."""

    name = "kde"
    title = "Kernel density"
    described = ("source", "rows", "dimension")
    experiment = Experiment
    chains = Chains
    scorers = ("distance", "oracle", "detector", "command")
    weights = True
    headline = Quantity("negative_log_likelihood", "test", "Test negative log-likelihood", "nats per row")
    synthetic = (Quantity("variance", "synthetic", "Variance", role="diversity"),)
    laws = (headline, Quantity("variance", "test", "Variance of the density"))

    def architecture(self, data: Data, model: Model) -> object:
        """The data and the kernel: experiments that differ in them draw numbers of their own."""
        return [data.without("reserve").plain, model.plain]

    def scorer_problems(self, experiment: Experiment, scorer: Filter) -> Iterator[str]:
        """A center of another dimension."""
        data = experiment.data
        dimension = data.dimension or (3 if data.source == "swiss-roll" else 2)
        yield from center_problems(scorer, dimension, "the rows' dimension")

    def data_slug(self, data: Data) -> str:
        """For example moons-n100."""
        return f"{data.source}{'' if data.dimension is None else f'-d{data.dimension}'}-n{data.rows}"

    def model_slug(self, model: Model) -> str:
        """For example kde-h0.5."""
        return f"kde-h{model.bandwidth:g}"

    def model_title(self, model: Model) -> str:
        """For example Kernel density (h=0.5)."""
        return f"Kernel density (h={model.bandwidth:g})"

    def sampling_slug(self, sampling: Sampling) -> str:
        """The only sampling there is."""
        return "kernel"

    def own_problems(self, experiment: Experiment) -> Iterator[str]:
        return _problems(experiment)


DOMAIN = Kernels()
