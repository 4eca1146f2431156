"""What jobs cost before any of them runs, as a domain says it; `selfloop.operations.cost` adds it up.

Light: neither torch nor pyarrow is imported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")  # a domain's section `training`
S = TypeVar("S")  # and an entry of its `sampling`


@dataclass(frozen=True)
class Work:
    """The work of a job, or of several.

    Attributes:
        units: what the domain counts (tokens, images, rows) and the job trains on, samples or measures.
        flops: floating-point operations; a multiplication and an addition are two.
        bytes: what stays on disk.
    """

    units: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.units + other.units, self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True)
class Effort(Generic[T, S]):
    """What each job of an experiment costs.

    Attributes:
        unit: the name of what `Work.units` counts, such as "tokens".
        row: units of a typical real row.
        data: the prepared real data.
        train: of training settings, and the training set's rows in multiples of the real train rows.
        generate: of an entry of `sampling`; one part, as many rows as the real train split has.
        evaluate_model: measuring one model.
        evaluate_part: of an entry of `sampling`, and whether the part's model is its chain's first one.
        assumed: which of the numbers behind these are assumed, not known; sentences for the reader.
    """

    unit: str
    row: float
    data: Work
    train: Callable[[T, float], Work]
    generate: Callable[[S], Work]
    evaluate_model: Work
    evaluate_part: Callable[[S, bool], Work]
    assumed: tuple[str, ...] = ()


AnyEffort: TypeAlias = Effort[Any, Any]
