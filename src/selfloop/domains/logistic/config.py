"""The sections of an experiment of the logistic domain. Light: the Snakefile and the steps import it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Reserve, Section
from selfloop.simulation import config

Dimension = Annotated[int, Field(ge=1, le=1_000)]
Rows = Annotated[int, Field(ge=2, le=1_000_000)]


class Data(Section):
    """The real rows: inputs x and labels 0 or 1."""

    unsaid: ClassVar = frozenset({"reserve"})
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"packaged": ("name",), "normal": ("dimension", "rows")}

    source: Literal["packaged", "normal"]
    """`packaged`: real rows that are installed with the dependencies; `normal`: x from N(0, I) and labels of a logistic
    model whose parameters have the length `signal`.
    """
    name: Literal["diabetes"] | None = None
    """The packaged rows: `diabetes`, ten measurements of 442 patients; a label is whether the disease has progressed by
    more than 100. Split as in Dey and Donoho (2410.22812).
    """
    dimension: Dimension | None = None
    """The dimension d of normal inputs."""
    rows: Rows | None = None
    """Normal rows T to train on, and rows of every sampled part."""
    signal: Annotated[float, Field(ge=0)] = 1.0
    """Length of the true parameters of normal rows."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the packaged rows that is held out with `seed`."""
    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones and for an oracle, in multiples of the train rows; never in
    the train split. Packaged rows are divided into the two.
    """
    seed: DataSeed = 0
    """Seed of normal rows, and of the split of packaged ones. `per-chain`: the chain's own."""


class Model(Section):
    """Empty; the model is a vector of parameters and an intercept."""


class Training(Section):
    """How each model is fitted, without a penalty."""

    tolerance: Annotated[float, Field(gt=0)] = 1e-4
    """Where scikit-learn's L-BFGS ends. Its default, 1e-4, is short of the minimum: on `diabetes` the first model's
    test log-loss is .4284598 there, as published, and .4304827 at the minimum.
    """


class Sampling(Section):
    """One empty entry; labels are drawn by the model's probabilities for the same inputs."""


class Simulation(config.Simulated):
    """Chains of many seeds that are computed without files between; null for none. They begin with the same real rows
    and run the experiment's regimes. There is no law of them.
    """


class Chains(config.Chains):
    """One setting of a simulation under one regime, complete: what a job of the rule simulate_chains computes."""

    data: Data
    tolerance: float

    @property
    def label(self) -> str:
        """The setting in the column `model` of the tables."""
        return label(self.data)

    @property
    def sampling(self) -> str:
        """The entry of `sampling` in the tables."""
        return "bernoulli"


def label(data: Data) -> str:
    """How tables call real rows: diabetes, or for example d=3, T=100."""
    if data.name is None:
        return f"d={data.dimension}, T={data.rows}"
    return f"{data.name}, reserve={data.reserve:g}" if data.reserve else data.name
