"""Scores of sampled rows: one Parquet file per part and scorer, with a row for each of the part's."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.config.filters import Filter
from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams


class ScoreParams(StepParams):
    """What every step score takes of its params."""

    scorer: Filter


def write_scores(job: Job[ScoreParams], scores: npt.ArrayLike) -> None:
    """Write the score of each row of `job.input.part`, in its order, as `job.output.scores`.

    Raises:
        UserError: a score is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise UserError(
            f"{job.input['part']}: the score of row {wrong[0]} by {job.params.scorer.by} is {values[wrong[0]]}."
        )
    with atomic_file(Path(job.output["scores"])) as scratch:
        pq.write_table(pa.table({"score": values}), scratch, **FORMAT)
    job.did(len(values), "rows")
    job.log.info("%d scores by %s, from %g to %g", len(values), job.params.scorer.by, values.min(), values.max())
