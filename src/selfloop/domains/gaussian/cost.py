"""The cost of jobs of Gaussians: next to nothing."""

from pathlib import Path

from selfloop.domains.cost import AnyEffort, Work, fitted
from selfloop.domains.gaussian.config import Data, Model
from selfloop.inputs import packaged


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> AnyEffort:
    """A row takes 2·d² FLOPs in a fit or a sample, and a model 2·d³. A row of d numbers has 8·d bytes."""
    d, count = data.dimension, data.rows
    if data.name is not None:
        d, count = packaged.shape(data.name, d, count, data.test_fraction)
    assert d is not None and count is not None
    each = 2.0 * d * d
    evaluated = Work(flops=d * each, bytes=8.0 * d * (d + 1))
    return fitted(count, row_bytes=8.0 * d, fit=each, sample=each, measure=each, model=evaluated)
