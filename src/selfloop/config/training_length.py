"""How long a training lasts: in passes over its training set, or in optimizer steps. Light: the steps import it."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from selfloop.config.section import Section


class TrainingLength(Section):
    """The keys `epochs` and `steps` of a `training` section, of which one holds."""

    unsaid: ClassVar = frozenset({"steps"})

    epochs: Annotated[float, Field(ge=0.0001)] | None = 1.0
    """Passes over the training set; may be a fraction. The default holds where `steps` is not given."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps in place of `epochs`: as many for every training set, however large, which is gone round as often
    as that takes. null for `epochs`.
    """

    @model_validator(mode="before")
    @classmethod
    def _no_default_beside_steps(cls, given: object) -> object:
        if isinstance(given, Mapping) and given.get("steps") is not None and "epochs" not in given:
            return {**given, "epochs": None}
        return given

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise PydanticCustomError("one of", "one of", {"keys": ("epochs", "steps")})
        return self

    def optimizer_steps(self, batches_per_epoch: int) -> int:
        """Optimizer steps on a training set; 1.1 epochs of 50 batches are 55, though 1.1 * 50 is a bit more."""
        if self.epochs is None:
            assert self.steps is not None
            return self.steps
        return math.ceil(round(self.epochs * batches_per_epoch, 6))

    def seen(self, rows: float, rows_per_step: float) -> float:
        """Rows that a training on `rows` of them sees, repetitions counted."""
        return self.epochs * rows if self.epochs is not None else (self.steps or 0) * rows_per_step
