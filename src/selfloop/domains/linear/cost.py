"""The cost of jobs of linear regression: next to nothing."""

from pathlib import Path

from selfloop.domains.cost import Effort, Work
from selfloop.domains.linear.config import Data, Model, Sampling, Training


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> Effort[Training, Sampling]:
    """A fit takes 2·d² FLOPs per row, everything else 2·d. A row of d inputs, y and noise has 8·(d + 2) bytes."""
    count, d = data.rows, data.dimension
    written = 8.0 * (d + 2) * count
    return Effort(
        unit="rows",
        row=1.0,
        data=Work(bytes=written),
        train=lambda training, amount: Work(amount * count, 2.0 * d * d * amount * count, 8.0 * d),
        generate=lambda sampling: Work(count, 2.0 * d * count, written),
        evaluate_model=Work(flops=2.0 * d * d),
        evaluate_part=lambda sampling, first: Work(count, 2.0 * d * count),
        assumed=("Simulations of linear regression take seconds each and count as no work.",),
    )
