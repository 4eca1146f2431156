"""What the study asks of the logistic domain while it is planned: names, simulations, and what is wrong with them."""

import importlib.util
from collections.abc import Iterator
from math import log
from typing import Annotated, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.config.filters import Filter, center_problems
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Quantity
from selfloop.domains.logistic.config import Chains, Data, Model, Sampling, Simulation, Training
from selfloop.domains.simulated import SimulatedDomain
from selfloop.inputs import packaged


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["logistic"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    simulation: Simulation | None = None
    """Chains of many seeds that are computed without files between; null for none."""


def _problems(experiment: Experiment) -> Iterator[str]:
    if importlib.util.find_spec("sklearn") is None:
        yield "domain: 'logistic' needs the Python package `scikit-learn`, which is not installed."
    data = experiment.data
    if data.name is not None:
        _, most = packaged.shape(data.name, None, None, data.test_fraction)
        if data.reserve > most - 1:
            yield f"data.reserve: {data.reserve:g} leaves none of the {most} rows of '{data.name}' to train on."


ENTROPY = Measure("entropy", "Entropy of labels", "nats", logarithmic=True, floor=0.0, ceiling=log(2))
RECALL = Measure("recall", "Real labels met", floor=0.0, ceiling=1.0)
AGREEMENT = Measure("agreement", "Probability of real labels", floor=0.0, ceiling=1.0)
KAPPA = Measure("kappa", "Error carried on, κ", even=1.0)


class Logistic(SimulatedDomain[Experiment, Data, Model, Sampling]):
    """What the study asks of logistic regression."""

    name = "logistic"
    title = "Logistic regression"
    described = ("source", "name", "rows", "dimension")
    experiment = Experiment
    chains = Chains
    scorers = ("residual", "oracle", "detector", "command")
    weights = True
    preload = (*SimulatedDomain.preload, "sklearn.linear_model")
    headline = Quantity("log_loss", "test", "Test log-loss", "nats per row")
    synthetic = (Quantity("positive", "synthetic", "Share of labels 1"),)
    laws = (
        headline,
        Quantity("accuracy", "test", "Test accuracy"),
        Quantity("length", "test", "Length of the parameters"),
    )

    profile = Profile(spread=ENTROPY, recall=RECALL, flat=(), like=AGREEMENT, carried=KAPPA, wider="become more random")
    profiled = (
        ENTROPY,
        RECALL,
        AGREEMENT,
        Measure("positive", "Share of labels 1", floor=0.0, ceiling=1.0),
        KAPPA,
        Measure("kappa_cosine", "Cosine of successive errors"),
    )

    def scorer_problems(self, experiment: Experiment, scorer: Filter) -> Iterator[str]:
        """No center, one of another dimension, or a radius."""
        if scorer.by == "residual":
            if scorer.center is None:
                yield "center: it is needed; give the parameters that the verifier believes in, the intercept last."
            if scorer.radius:
                yield f"radius: {scorer.radius:g} is not allowed in domain 'logistic', only 0."
            dimension = experiment.data.dimension or packaged.SOURCES["diabetes"].columns
            yield from center_problems(scorer, dimension + 1, "the inputs and an intercept")

    def data_slug(self, data: Data) -> str:
        """For example diabetes or normal-d3-t100."""
        return data.name or f"normal-d{data.dimension}-t{data.rows}"

    def sampling_slug(self, sampling: Sampling) -> str:
        """The only sampling there is."""
        return "bernoulli"

    def setting(self, experiment: Experiment) -> dict[str, object]:
        data = experiment.data  # of packaged rows, the reserve leaves fewer to train on
        return {"data": data if data.name else data.without("reserve"), "tolerance": experiment.training.tolerance}

    def drawn(self, experiment: Experiment) -> bool:
        """Never: all seeds have the same inputs."""
        return False

    def own_problems(self, experiment: Experiment) -> Iterator[str]:
        return _problems(experiment)


DOMAIN = Logistic()
