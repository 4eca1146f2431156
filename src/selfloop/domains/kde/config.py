"""The sections of an experiment of the kde domain. Light: the Snakefile and the steps import it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Reserve, Section
from selfloop.simulation import config

Rows = Annotated[int, Field(ge=2, le=1_000_000)]
Bandwidth = Annotated[float, Field(gt=0)]


class Data(Section):
    """The real rows: points of a distribution."""

    unsaid: ClassVar = frozenset({"reserve"})
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"normal": ("dimension",)}

    source: Literal["normal", "blobs", "moons", "circles", "swiss-roll"]
    """`normal`: N(0, I); or one of scikit-learn's made-up data sets: three `blobs`, two half `moons`, two `circles`, in
    the plane, or a `swiss-roll` in three dimensions.
    """
    dimension: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """The dimension d of normal points."""
    rows: Rows
    """Real rows n to train on, and rows of every sampled part."""
    test_rows: Rows = 500
    """Rows to test on."""
    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones, in multiples of `rows`; never in the train split."""
    seed: DataSeed = 0
    """Seed of the real rows. `per-chain`: the chain's own; laws of the regimes are over such chains."""

    @property
    def columns(self) -> int:
        """The dimension of all points."""
        return self.dimension or (3 if self.source == "swiss-roll" else 2)


class Model(Section):
    """The kernel."""

    bandwidth: Bandwidth = 0.5
    """Standard deviation h of the normal kernel around every training row."""


class Training(Section):
    """Empty; a model keeps its training rows."""


class Sampling(Section):
    """One empty entry; a sampled row is a training row plus the kernel's noise."""


class Grid(Section):
    """Numbers of rows and bandwidths to combine; what is left out is that of `data` and `model`."""

    rows: Annotated[list[Rows], Field(min_length=1)] | None = None
    """Numbers of rows n."""
    bandwidth: Annotated[list[Bandwidth], Field(min_length=1)] | None = None
    """Bandwidths h."""


class Simulation(config.Simulated):
    """Chains of many seeds that are computed without files between; null for none. They run the experiment's regimes,
    and the law of the variance is drawn over them. But for normal points, all begin with the same real rows.
    """

    grid: Annotated[list[Grid], Field(min_length=1)] = [Grid()]
    """The settings: each entry stands for all combinations of its lists. One job per setting and regime."""


class Chains(config.Chains):
    """One setting of a simulation under one regime, complete: what a job of the rule simulate_chains computes."""

    source: Literal["normal", "blobs", "moons", "circles", "swiss-roll"]
    dimension: int | None = None
    rows: int
    test_rows: int
    seed: int = 0
    bandwidth: float

    @property
    def data(self) -> Data:
        """The section that describes its real rows."""
        values = {key: getattr(self, key) for key in ("source", "dimension", "rows", "test_rows", "seed")}
        return Data.model_validate(values)

    @property
    def label(self) -> str:
        """The setting in the column `model` of the tables, for example "moons, n=100, h=0.5"."""
        name = f"normal, d={self.dimension}" if self.source == "normal" else self.source
        return f"{name}, n={self.rows}, h={self.bandwidth:g}"

    @property
    def sampling(self) -> str:
        """The entry of `sampling` in the tables."""
        return "kernel"
