"""The cost of jobs of kernel density estimates: the distances of the test rows from a model's points."""

from dataclasses import replace
from pathlib import Path

from selfloop.domains.cost import AnyEffort, Work, fitted
from selfloop.domains.kde.config import Data, Model


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> AnyEffort:
    """A model is measured in 2·d FLOPs per test row and point, of which it is taken to have one training set's.

    A checkpoint is its training rows, of d numbers and a weight.
    """
    d, count = data.columns, data.rows
    evaluated = Work(flops=2.0 * d * count * data.test_rows)
    found = fitted(count, row_bytes=8.0 * d, fit=0.0, sample=2.0 * d, measure=4.0 * d, model=evaluated)
    return replace(found, train=lambda training, amount: Work(amount * count, bytes=8.0 * (d + 1) * amount * count))
