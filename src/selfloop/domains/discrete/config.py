"""The sections of an experiment of the discrete domain. Light: the Snakefile and the steps import it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Reserve, Section
from selfloop.simulation import config

Types = Annotated[int, Field(ge=1, le=1_000_000)]
Exponent = Annotated[float, Field(ge=0)]
Rows = Annotated[int, Field(ge=1, le=100_000_000)]


class Data(Section):
    """The real rows: the words of a corpus, one per row, or categories."""

    unsaid: ClassVar = frozenset({"reserve"})
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"packaged": ("name",), "categories": ("types", "rows")}

    source: Literal["packaged", "categories"]
    """`packaged`: words of a corpus that is installed with the dependencies; `categories`: drawn from a distribution of
    `types` of them.
    """
    name: Literal["shakespeare"] | None = None
    """The packaged corpus: `shakespeare`, the words of the plays in lower case; four plays are the test rows."""
    types: Types | None = None
    """Number of categories."""
    exponent: Exponent = 1.0
    """The k-th category has a probability proportional to 1/k^exponent: 1 is Zipf's law, 0 makes all alike."""
    rows: Rows | None = None
    """Real rows n to train on, and rows of every sampled part; of words, drawn with `seed`, null for all."""
    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones, in multiples of `rows`; never in the train split. Of words,
    those that `rows` leaves.
    """
    seed: DataSeed = 0
    """Seed of the real rows. `per-chain`: the chain's own; laws of the regimes are over such chains."""


class Model(Section):
    """Empty; the model is a probability of each type."""


class Training(Section):
    """Empty; probabilities are frequencies in the training set."""


class Sampling(Section):
    """How rows are sampled from a model."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Logarithms of probabilities are divided by it; below 1, rare types are rarer still."""


class Grid(Section):
    """What to combine; what is left out is that of `data`. Words have `rows` only."""

    types: Annotated[list[Types], Field(min_length=1)] | None = None
    """Numbers of categories."""
    exponent: Annotated[list[Exponent], Field(min_length=1)] | None = None
    """Exponents of their distribution."""
    rows: Annotated[list[Rows], Field(min_length=1)] | None = None
    """Numbers of rows n."""


class Simulation(config.Simulated):
    """Chains of many seeds that are computed without files between; null for none. They run the experiment's regimes,
    and the law of each is drawn over them. Of words, all begin with the same real rows.
    """

    grid: Annotated[list[Grid], Field(min_length=1)] = [Grid()]
    """The settings: each entry stands for all combinations of its lists. One job per setting, sampling and regime."""


class Chains(config.Chains):
    """One setting of a simulation under one regime, complete: what a job of the rule simulate_chains computes."""

    source: Literal["packaged", "categories"]
    name: str | None = None
    types: int | None = None
    exponent: float = 1.0
    rows: int | None = None
    seed: int = 0
    temperature: float = 1.0

    @property
    def data(self) -> Data:
        """The section that describes its real rows."""
        values = {key: getattr(self, key) for key in ("source", "name", "types", "exponent", "rows", "seed")}
        return Data.model_validate(values)

    @property
    def label(self) -> str:
        """The setting in the column `model` of the tables, for example "1000 types, exponent 1, n=5000"."""
        words = f"{self.name} words" if self.name else f"{self.types} types, exponent {self.exponent:g}"
        return words if self.rows is None else f"{words}, n={self.rows}"

    @property
    def sampling(self) -> str:
        """The entry of `sampling` in the tables, for example temperature=1.0."""
        return config.temperature_title(self.temperature)
