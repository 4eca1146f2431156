"""What the jobs of linear regression cost: next to nothing."""

from pathlib import Path

from selfloop.domains.cost import Effort, Work
from selfloop.domains.linear.config import Data, Model, Sampling, Training


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> Effort[Training, Sampling]:
    """A fit forms XᵀX, 2·d² operations a row; all else is a product of X with a vector, 2·d. A row is 8·(d + 2) bytes.

    d + 2: the inputs, y and its noise. Simulations are jobs without a cost: they take seconds.
    """
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
        assumed=("Simulations of linear regression count as jobs and nothing else: each takes seconds.",),
    )
