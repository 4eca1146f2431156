"""What an evaluation step writes: a JSON list of {split, metric, value, part}."""

import json
from collections.abc import Mapping
from pathlib import Path

from selfloop.data.atomic import atomic_file
from selfloop.jobs.job import Job, StepParams


class PartParams(StepParams):
    """What an evaluation of a part takes of its params."""

    part: int


def write_measurements(
    job: Job[StepParams], splits: Mapping[str, Mapping[str, float]], part: int | None = None
) -> None:
    """Log metrics and write them to `job.output.measurements`.

    Args:
        job: the evaluation step.
        splits: by split, values by metric.
        part: the sampled part that was measured; None if it is the model.
    """
    rows = [
        {"split": split, "metric": metric, "value": value, "part": part}
        for split, values in splits.items()
        for metric, value in values.items()
    ]
    for row in rows:
        job.log.info("%s %s %.6g", row["split"], row["metric"], row["value"])
    with atomic_file(Path(job.output["measurements"])) as scratch:
        scratch.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
