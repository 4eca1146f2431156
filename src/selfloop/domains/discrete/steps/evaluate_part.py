"""Rule evaluate_part: the same measurements of sampled rows, by their own frequencies."""

from pathlib import Path

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.domains.discrete.model import aligned, measured, model_of
from selfloop.domains.discrete.rows import read_counts
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Measure the part against the test split."""
    part, test = (read_counts(Path(job.input[name])) for name in ("part", "test"))
    found = measured(*aligned(model_of(part), test))
    write_measurements(job, {"synthetic": {name: float(value) for name, value in found.items()}}, job.params.part)
