"""What the study asks of the discrete domain while it is planned: names, simulations, and what is wrong with them."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from selfloop.config import models
from selfloop.config.filters import Filter
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Quantity
from selfloop.domains.discrete.config import Chains, Data, Model, Sampling, Simulation, Training
from selfloop.domains.simulated import SimulatedDomain
from selfloop.errors import UserError
from selfloop.inputs import shakespeare
from selfloop.simulation.config import temperature_title


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["discrete"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]
    simulation: Simulation | None = None
    """Chains of many seeds that are computed without files between; null for none."""


def _problems(experiment: Experiment) -> Iterator[str]:
    data = experiment.data
    if data.source == "packaged":
        try:
            shakespeare.plays()
        except UserError as error:
            yield f"{error}."
        if data.types is not None:
            yield f"data.types: {data.types} is given with source: packaged; leave it out."
        if experiment.simulation is not None:
            for place, line in enumerate(experiment.simulation.grid):
                if line.types or line.exponent:
                    yield f"simulation.grid[{place}]: words have `rows` only; leave out `types` and `exponent`."


MOST_APART = 100.0  # rewards times beta; e^100 times as likely is certain, and the law's quadrature holds no more
ENTROPY = Measure("entropy", "Entropy of samples", "nats", logarithmic=True, floor=0.0)
RECALL = Measure("recall", "Real types met", floor=0.0, ceiling=1.0)
DIVERSITY = Measure("gini_simpson", "Gini-Simpson diversity", floor=0.0, ceiling=1.0)
OVERLAP = Measure("overlap", "Overlap with real rows", floor=0.0, ceiling=1.0)
KAPPA = Measure("kappa", "Error carried on, κ", even=1.0)


class Discrete(SimulatedDomain[Experiment, Data, Model, Sampling]):
    """What the study asks of words and categories."""

    name = "discrete"
    title = "Words and categories"
    described = ("source", "name", "types", "rows")
    experiment = Experiment
    chains = Chains
    scorers = ("reward", "oracle", "detector", "command")
    weights = True
    headline = Quantity("lost_types", "test", "Test types that the model cannot produce", "share")
    synthetic = (
        Quantity("types", "synthetic", "Types", role="diversity"),
        Quantity("gini_simpson", "synthetic", "Gini-Simpson diversity"),
        Quantity("entropy", "synthetic", "Entropy", "nats"),
    )
    laws = (
        headline,
        Quantity("types", "test", "Types that the model can produce"),
        Quantity("gini_simpson", "test", "Gini-Simpson diversity"),
        Quantity("cross_entropy", "test", "Test cross-entropy", "nats per row"),
        Quantity("entropy", "test", "Entropy", "nats"),
    )

    profile = Profile(
        spread=ENTROPY, recall=RECALL, flat=(DIVERSITY,), like=OVERLAP, carried=KAPPA, wider="become more random"
    )
    profiled = (
        ENTROPY,
        RECALL,
        DIVERSITY,
        OVERLAP,
        Measure("rare_mass", "Mass of the rarer half of types"),
        Measure("divergence", "Divergence from real rows", "nats"),
        Measure("artifact_mass", "Artifact mass"),
        KAPPA,
        Measure("kappa_correlation", "Correlation of errors"),
    )

    def scorer_problems(self, experiment: Experiment, scorer: Filter) -> Iterator[str]:
        """No rewards, or such large ones that drawing by weight is choosing the best."""
        rewards = [0.0, *(scorer.rewards or {}).values()]
        apart = scorer.beta * (max(rewards) - min(rewards))
        if scorer.by == "reward" and scorer.keep == "drawn" and apart > MOST_APART:
            yield (
                f"rewards: they are {apart:g} apart, times beta; at most {MOST_APART:g} with keep: drawn. Take keep: "
                "highest, which so large ones come to."
            )
        if scorer.by == "reward" and not scorer.rewards:
            yield "rewards: none are given; name words and their rewards."

    def data_slug(self, data: Data) -> str:
        """For example shakespeare-n10000 or zipf1-k1000-n5000."""
        name = data.name or f"zipf{data.exponent:g}-k{data.types}"
        return name if data.rows is None else f"{name}-n{data.rows}"

    def sampling_slug(self, sampling: Sampling) -> str:
        """For example t1."""
        return f"t{sampling.temperature:g}"

    def sampling_title(self, sampling: Sampling) -> str:
        """For example temperature=1.0."""
        return temperature_title(sampling.temperature)

    def own_problems(self, experiment: Experiment) -> Iterator[str]:
        return _problems(experiment)


DOMAIN = Discrete()
