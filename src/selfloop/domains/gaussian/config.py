"""The sections of an experiment of the Gaussian domain. Light: the Snakefile and the steps import it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Reserve, Section
from selfloop.simulation import config

Dimension = Annotated[int, Field(ge=1, le=1_000)]
Rows = Annotated[int, Field(ge=2, le=10_000_000)]
Covariance = Literal["maximum-likelihood", "unbiased", "known"]


class Data(Section):
    """The real rows: drawn from a standard normal distribution, or packaged ones."""

    unsaid: ClassVar = frozenset({"reserve"})
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"packaged": ("name",), "normal": ("dimension", "rows")}

    source: Literal["normal", "packaged"] = "normal"
    """`normal`: drawn from N(0, I), to which any other Gaussian comes down, since neither the fit nor any measurement
    depends on the units of the data; `packaged`: real rows that are installed with the dependencies.
    """
    name: Literal["orl", "diabetes"] | None = None
    """The packaged rows: `orl`, the leading principal components of 400 photographs of faces; `diabetes`, ten
    measurements of each of 442 patients.
    """
    dimension: Dimension | None = None
    """The dimension d; of packaged rows, the leading components or the first columns, null for all."""
    rows: Rows | None = None
    """Real rows n to train on, and rows of every sampled part; of packaged rows, drawn with `seed`, null for all."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the packaged rows that is held out with `seed`."""
    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones, in multiples of `rows`; never in the train split. Of
    packaged rows, those that `rows` leaves.
    """
    seed: DataSeed = 0
    """Seed of the real rows. `per-chain`: the chain's own; laws of the regimes are over such chains."""


class Model(Section):
    """Empty; the model is a mean and a covariance."""


class Training(Section):
    """How each model is fitted."""

    covariance: Covariance = "maximum-likelihood"
    """The covariance's estimate: `maximum-likelihood` divides by the number of rows N, `unbiased` by N - 1; `known`
    keeps that of the distribution, so that the mean alone is fitted.
    """


class Sampling(Section):
    """How rows are sampled from a model."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the covariance of sampled rows; below 1, every model samples from a narrower one."""


class Grid(Section):
    """Dimensions and numbers of rows to combine; what is left out is that of `data`."""

    dimension: Annotated[list[Dimension], Field(min_length=1)] | None = None
    """Dimensions d."""
    rows: Annotated[list[Rows], Field(min_length=1)] | None = None
    """Numbers of rows n."""


class Simulation(config.Simulated):
    """Chains of many seeds that are computed without files between; null for none. They run the experiment's regimes,
    and the law of each is drawn over them.
    """

    grid: Annotated[list[Grid], Field(min_length=1)] = [Grid()]
    """The settings: each entry stands for all combinations of its lists. One job per setting, sampling and regime."""


class Chains(config.Chains):
    """One setting of a simulation under one regime, complete: what a job of the rule simulate_chains computes.

    Attributes:
        data: the section of packaged rows, or null for rows from N(0, I).
    """

    dimension: int
    rows: int
    covariance: Covariance
    temperature: float
    data: Data | None = None

    @property
    def label(self) -> str:
        """The setting in the column `model` of the tables, for example d=3, n=100."""
        label = f"d={self.dimension}, n={self.rows}"
        if self.data is not None:
            label = f"{self.data.name}, {label}"
        return label if self.covariance == "maximum-likelihood" else f"{label}, {self.covariance}"

    @property
    def sampling(self) -> str:
        """The entry of `sampling` in the tables, for example temperature=1.0."""
        return config.temperature_title(self.temperature)
