"""Filters of sampled rows. Light, and apart from other sections: the step score imports it."""

from typing import Annotated, Literal

from pydantic import Field

from selfloop.config.section import Section


class Filter(Section):
    """A score of sampled rows, and which rows are kept by it."""

    by: Literal["cross-entropy", "length", "duplicates", "residual", "reward"]
    """The score. Text: `cross-entropy` (nats per token), `length` (tokens), `duplicates` (minus the number of earlier
    rows of the part that are the same). Linear: `residual` (minus the distance of a label from x·`center`). Discrete:
    `reward`.
    """
    of: Literal["first", "sampler"] = "first"
    """With `cross-entropy`: under model 1 of the chain, or under the model that sampled the row."""
    center: list[float] | None = None
    """With `residual`: the parameters that the verifier believes in; null for w*."""
    rewards: dict[str, float] | None = None
    """With `reward`: rewards of words; others have 0."""
    keep: Literal["highest", "lowest", "drawn"] = "highest"
    """Rows with the highest or the lowest scores, or `drawn` with probabilities proportional to exp(`beta` · score)."""
    each: bool = False
    """Choose among the candidates of each row (the rows of one number in as many parts: of one prompt or input) instead
    of among all candidates together.
    """
    candidates: Annotated[int, Field(ge=2, le=1000)] = 2
    """Sampled rows per row that is kept."""
    beta: Annotated[float, Field(gt=0)] = 1.0
    """How much scores count where rows are `drawn`."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that the verifier errs about a row, which then has the score of another one."""

    @property
    def scorer(self) -> "Filter":
        """What its scores depend on, with defaults for the rest."""
        return self.model_copy(update={key: type(self).model_fields[key].default for key in CHOOSING})


CHOOSING = ("keep", "each", "candidates", "beta", "noise")  # keys of a filter that its scores do not depend on
