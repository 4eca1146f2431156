"""The sections of an experiment of the linear domain. Light: the Snakefile and the steps import it."""

from typing import Annotated, ClassVar

from pydantic import Field

from selfloop.config.section import DataSeed, Distinct, Reserve, Section


class Distribution(Section):
    """The distribution of rows, y = x·w* + noise with x ~ N(0, Σ), and how many there are."""

    dimension: Annotated[int, Field(ge=1, le=10_000)]
    """The inputs' dimension d."""
    rows: Annotated[int, Field(ge=1, le=100_000_000)]
    """Real rows T, and rows of every sampled part; at least `dimension`, unless there is a ridge penalty."""
    noise_variance: Annotated[float, Field(gt=0)] = 1.0
    """Variance σ² of the noise in real and sampled labels."""
    covariance: Annotated[list[Annotated[list[float], Field(min_length=1)]], Field(min_length=1)] | None = None
    """The inputs' covariance Σ as a list of d lists of d numbers, symmetric and positive definite; null for the
    identity, or what `decay` says.
    """
    decay: Annotated[float, Field(ge=0)] = 0.0
    """Makes Σ diagonal with the entries 1, 1/2^decay, 1/3^decay and so on; 0 is the identity."""
    w_star: Annotated[list[float], Field(min_length=1)] | None = None
    """The true parameters w*, a list of d numbers; null for d equal ones of length 1. Without a ridge penalty no error
    depends on them.
    """


class Data(Distribution):
    """The distribution of the real rows, and how many are drawn."""

    unsaid: ClassVar = frozenset({"reserve"})

    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones, in multiples of `rows`; never in the train split."""
    seed: DataSeed = 0
    """Seed of the inputs X of the real rows, whose noise is drawn by the seeds of the chains; `per-chain`: the chain's
    own.
    """


class Model(Section):
    """Empty; the model is a vector of as many parameters as the data have dimensions."""


class Training(Section):
    """How each model is fitted."""

    ridge: Annotated[float, Field(ge=0)] = 0.0
    """The penalty λ in (1/N)‖Xw − y‖² + λ‖w‖² over the N rows of a training set; 0 for least squares."""


class Sampling(Section):
    """One empty entry; labels are sampled with normal noise of the data's variance."""


class Grid(Section):
    """Dimensions, rows, noise variances and penalties to combine; what is left out is that of `data` and `training`."""

    unsaid: ClassVar = frozenset({"dimension", "rows", "noise_variance", "ridge"})

    dimension: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1)] | None = None
    """Dimensions d."""
    rows: Annotated[list[Annotated[int, Field(ge=1, le=100_000_000)]], Field(min_length=1)] | None = None
    """Numbers of rows T."""
    noise_variance: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Noise variances σ²."""
    ridge: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] | None = None
    """Ridge penalties λ, 0 for least squares."""


class Simulation(Section):
    """Chains of many seeds, each with rows and noise of its own, computed without files between; null for none. They
    run the experiment's regimes, with its training.
    """

    grid: Annotated[list[Grid], Field(min_length=1)] = [Grid()]
    """The settings. Each entry stands for all combinations of its lists `dimension`, `rows`, `noise_variance` and
    `ridge`, and for the value in `data` or `training` of a key that it leaves out. One job per scenario and regime.
    """
    iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Model-fitting iterations of every simulated chain."""
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Number of seeds per scenario, counted from 0."""
    theory: Distinct[str] | None = None
    """Regimes whose predicted test error is drawn over the simulation and compared with it; null for all of the
    experiment's; `[]` for none. Of least squares, every regime of whole parts has a law, and of others (amounts below
    1, fresh rows, a budget) the median is approximated by that of many rows; of ridge, the built-in ones but
    `accumulate-subsample` have laws. Without ridge, a prediction needs `rows` ≥ `dimension` + 2: with fewer, the
    expected error is infinite, and a simulation runs with `theory: []` only.
    """


class Chains(Distribution):
    """One setting of a simulation under one regime, complete: what a job of the rule simulate_chains computes."""

    unsaid: ClassVar = frozenset({"table"})

    regime: str
    table: dict[str, object] | None = None  # as `simulation.config.table_of` has it, of regimes without a closed form
    ridge: float
    iterations: int
    seeds: int
