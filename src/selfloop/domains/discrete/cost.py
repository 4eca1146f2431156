"""The cost of jobs of words and categories: counting, next to nothing."""

from pathlib import Path

from selfloop.domains.cost import AnyEffort, Work, fitted
from selfloop.domains.discrete.config import Data, Model
from selfloop.domains.discrete.words import corpus

ROW_BYTES = 4.0  # of a word among others of its kind, compressed


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> AnyEffort:
    """A row is drawn and counted in an operation each. A checkpoint has a count per type; of words, these are few."""
    count = data.rows or rows or len(corpus("train"))
    evaluated = Work(bytes=8.0 * (data.types or 0))
    return fitted(count, row_bytes=ROW_BYTES, fit=1.0, sample=1.0, measure=1.0, model=evaluated)
