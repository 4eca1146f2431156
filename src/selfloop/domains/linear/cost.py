"""The cost of jobs of linear regression: next to nothing."""

from pathlib import Path

from selfloop.domains.cost import AnyEffort, Work, fitted
from selfloop.domains.linear.config import Data, Model


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> AnyEffort:
    """A fit takes 2·d² FLOPs per row, everything else 2·d. A row of d inputs, y and noise has 8·(d + 2) bytes."""
    d = data.dimension
    line = 2.0 * d
    evaluated = Work(flops=2.0 * d * d, bytes=8.0 * d)
    return fitted(data.rows, row_bytes=8.0 * (d + 2), fit=2.0 * d * d, sample=line, measure=line, model=evaluated)
