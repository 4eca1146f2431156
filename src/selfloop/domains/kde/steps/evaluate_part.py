"""Rule evaluate_part: the variance of sampled rows."""

from pathlib import Path

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.domains.kde.model import variance
from selfloop.domains.vectors import read_rows
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """The mean over coordinates of the part's variance."""
    part = read_rows(Path(job.input["part"]))
    write_measurements(job, {"synthetic": {"variance": float(variance(part))}}, job.params.part)
