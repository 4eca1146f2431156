"""Rule evaluate_part: the same measurements of sampled rows, by their own mean and covariance."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.domains.gaussian.model import fit, measured
from selfloop.domains.vectors import read_rows
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Measure the part against the test split."""
    part, test = (read_rows(Path(job.input[name])) for name in ("part", "test"))
    sampled, real = (fit([(rows, np.ones(len(rows)))])[0] for rows in (part, test))
    write_measurements(job, {"synthetic": measured(sampled, real)}, job.params.part)
