"""The cost of jobs before any of them runs. `selfloop.operations.cost` adds up what each domain's `effort` returns.

Light: neither torch nor pyarrow is imported. FLOPs count a multiplication and an addition as two; a backward pass costs
twice the forward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from selfloop.checksums import is_shadow
from selfloop.errors import UserError
from selfloop.jobs.damage import check

T = TypeVar("T")  # a domain's section `training`
S = TypeVar("S")  # and an entry of its `sampling`


@dataclass(frozen=True)
class Work:
    """The work of one or several jobs.

    Attributes:
        units: tokens, images or rows that the job trains on, samples or evaluates.
        flops: floating-point operations.
        bytes: of the outputs on disk.
    """

    units: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.units + other.units, self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True)
class Effort(Generic[T, S]):
    """The cost of each job of an experiment.

    Attributes:
        unit: of `Work.units`, such as "tokens".
        row: units per typical real row.
        data: preparing the real data.
        train: given the `training` section, and the training set's rows in multiples of the real train rows.
        generate: one part, given an entry of `sampling`.
        evaluate_model: one model.
        evaluate_part: one part, given an entry of `sampling` and whether its model is the chain's first.
        score: one part under one model, given an entry of `sampling`; scores without a model count as no work.
        assumed: sentences on numbers that are assumed.
    """

    unit: str
    row: float
    data: Work
    train: Callable[[T, float], Work]
    generate: Callable[[S], Work]
    evaluate_model: Work
    evaluate_part: Callable[[S, bool], Work]
    assumed: tuple[str, ...] = ()
    score: Callable[[S], Work] = lambda sampling: Work()


AnyEffort: TypeAlias = Effort[Any, Any]


def fitted(
    rows: float, *, row_bytes: float, fit: float, sample: float, measure: float = 0.0, model: Work = Work()
) -> AnyEffort:
    """The cost of models that are fitted to their rows in a pass over them, next to nothing.

    Args:
        rows: real train rows.
        row_bytes: of a row on disk.
        fit, sample, measure: FLOPs per row of a training set, of a part that is sampled or scored under a model, and of
            one that is measured.
        model: evaluating a model, and the bytes of its checkpoint.
    """
    return Effort(
        unit="rows",
        row=1.0,
        data=Work(bytes=row_bytes * rows),
        train=lambda training, amount: Work(amount * rows, fit * amount * rows, model.bytes),
        generate=lambda sampling: Work(rows, sample * rows, row_bytes * rows),
        evaluate_model=Work(flops=model.flops),
        evaluate_part=lambda sampling, first: Work(rows, measure * rows),
        score=lambda sampling: Work(rows, sample * rows),
        assumed=("Simulated chains take seconds per setting and count as no work.",),
    )


def prepared_shards(real: Path) -> tuple[list[Path], list[Path]] | None:
    """The shards of the prepared train and test splits below `real`; None if they do not exist yet.

    Raises:
        UserError: they are damaged.
    """
    train, test = (
        sorted(path for path in (real / split).glob("*.parquet") if not is_shadow(path.name))
        for split in ("train", "test")
    )
    if not (train and test):
        return None
    check([real / "train", real / "test"])
    return train, test


def watched_rows(share: float | None, train_rows: float, test_rows: float) -> float:
    """About how many rows the validation split has: its share of what is trained on, or as many as the test split."""
    return test_rows if share is None else max(1.0, train_rows * share / (1 - share))


def unknown_size(what: str, rule: str) -> UserError:
    """The error for data whose size only the rule that prepares them can tell."""
    return UserError(f"{what}: size unknown until prepared; pass --rows, or prepare it: snakemake --until {rule}")
