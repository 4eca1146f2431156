"""Rule evaluate_part: the labels of one sampled data set."""

from pathlib import Path

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.domains.logistic.rows import read_rows
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """The share of labels 1."""
    _, y = read_rows(Path(job.input["part"]))
    write_measurements(job, {"synthetic": {"positive": float(y.mean())}}, job.params.part)
