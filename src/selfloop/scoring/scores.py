"""Scores of sampled rows: one Parquet file per part and scorer, with a row for each of the part's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.config.filters import Filter
from selfloop.data.atomic import atomic_file
from selfloop.data.contents import unchanged
from selfloop.data.parquet import FORMAT
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams
from selfloop.scoring.command import command_scores
from selfloop.scoring.detector import Floats, Rows, detector_scores


class ScoreParams(StepParams):
    """What every step score takes of its params; `contents` is a digest of the files that the scorer names."""

    scorer: Filter
    contents: str | None = None


def checkpoint_of(job: Job[ScoreParams]) -> Path:
    """The checkpoint that rows are scored under: of a model of the study, or the folder that the scorer names."""
    return Path(job.input.get("checkpoint", job.params.scorer.of))


def score_part(job: Job[ScoreParams], features: Callable[[Path], Rows], own: Callable[[], Floats]) -> None:
    """Write the score of each row of `job.input.part`, in its order, as `job.output.scores`.

    Args:
        job: its input `real` is the real train split, where the scorer compares rows with it.
        features: of the rows of a data set, by which a detector tells real from synthetic ones.
        own: the scores (rows,) by a scorer of the domain's own.

    Raises:
        UserError: a score is not finite, or the user's program fails.
    """
    scorer, part = job.params.scorer, Path(job.input["part"])
    if scorer.by == "command":
        found = command_scores(scorer, part, job.params.contents)
    elif scorer.by == "detector":
        found = detector_scores(features(part), features(Path(job.input["real"])))
    else:
        with unchanged(job.params.contents, lambda: scorer.files, "the files of a filter's checkpoint have"):
            found = np.asarray(own(), dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        raise UserError(f"{part}: the score of row {wrong[0]} by {scorer.by} is {found[wrong[0]]}.")
    with atomic_file(Path(job.output["scores"])) as scratch:
        pq.write_table(pa.table({"score": found}), scratch, **FORMAT)
    job.did(len(found), "rows")
    job.log.info("%d scores by %s, from %g to %g", len(found), scorer.by, found.min(), found.max())
