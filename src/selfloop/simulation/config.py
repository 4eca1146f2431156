"""What a config asks of a simulation, in every domain that has one, and what a job of it is told. Light."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter

from selfloop.config.section import Section
from selfloop.data.regimes import Regime, TrainingSet, training_set

T = TypeVar("T")
MOST_ITERATIONS = 2_000  # of a regime without a closed form, whose coefficients are a matrix
LOOKS = ("colour", "marker")


class Simulated(Section):
    """How long chains of a simulation are, and how many."""

    iterations: Annotated[int, Field(ge=1, le=2_000)] = 100
    """Model-fitting iterations of every simulated chain."""
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Number of seeds per setting and regime, counted from 0."""


class Chains(Section):
    """One setting under one regime, complete, but for what a domain adds.

    Attributes:
        table: the regime's, as `table_of` has it.
    """

    regime: str
    table: dict[str, object]
    iterations: int
    seeds: int

    @property
    def label(self) -> str:
        """The setting in the column `model` of the tables."""
        raise NotImplementedError

    @property
    def sampling(self) -> str:
        """The sampling in the tables."""
        raise NotImplementedError

    @property
    def sets(self) -> list[TrainingSet]:
        """The training sets from iteration 1 on."""
        return sets_of(self.regime, self.table, self.iterations)


def temperature_title(temperature: float) -> str:
    """How tables call an entry of `sampling` with this temperature."""
    return f"temperature={float(temperature)}"


def table_of(regime: Regime) -> dict[str, object]:
    """What a regime trains on, as JSON values: neither its name nor its looks."""
    kept = asdict(regime)
    defaults = {field.name: field.default for field in fields(type(regime.sources[0]))}
    kept["sources"] = [
        {name: value for name, value in source.items() if value != defaults[name]} for source in kept["sources"]
    ]
    return {name: value for name, value in kept.items() if name not in ("name", *LOOKS)}


def sets_of(name: str, table: Mapping[str, object], iterations: int) -> list[TrainingSet]:
    """The training sets of the regime with a table, from iteration 1 on."""
    regime = TypeAdapter(Regime).validate_python({"name": name, **table})
    return [training_set(regime, n) for n in range(1, iterations + 1)]


def whole_parts(sets: Sequence[TrainingSet]) -> bool:
    """Whether training sets take nothing but whole parts, of one X where a domain has such."""
    return all(
        not take.fresh and take.amount >= 1 and (one.budget is None or one.budget >= sum(t.amount for t in one.takes))
        for one in sets
        for take in one.takes
    )


def combinations(grid: Mapping[str, list[T]]) -> Iterator[dict[str, T]]:
    """All combinations of a grid's lists, the last one running fastest."""
    found: list[dict[str, T]] = [{}]
    for name, values in grid.items():
        found = [{**one, name: value} for one in found for value in values]
    yield from found
