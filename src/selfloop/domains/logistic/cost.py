"""The cost of jobs of logistic regression: next to nothing."""

from pathlib import Path

from selfloop.data.reserve import counts
from selfloop.domains.cost import AnyEffort, Work, fitted
from selfloop.domains.logistic.config import Data, Model
from selfloop.inputs import packaged

PASSES = 20  # of L-BFGS over its rows


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> AnyEffort:
    """A pass of a fit takes 4·d FLOPs per row, a label 2·d. A row of d inputs and a label has 8·d + 1 bytes."""
    d, count = data.dimension, data.rows
    if data.name is not None:
        d, most = packaged.shape(data.name, d, count, data.test_fraction)
        count, _ = counts(most, None, data.reserve)
    assert d is not None and count is not None
    line = 2.0 * d
    evaluated = Work(flops=line * count, bytes=8.0 * (d + 1))
    return fitted(count, row_bytes=8.0 * d + 1, fit=2 * line * PASSES, sample=line, measure=1.0, model=evaluated)
