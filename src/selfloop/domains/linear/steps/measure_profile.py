"""Rule measure_profile: how the fits of one seed's chains err, and how much of an error the next fit has."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selfloop.data.profile_rows import Params, rows, write_profile
from selfloop.domains.linear.data.rows import read_rows
from selfloop.domains.linear.profile import measures
from selfloop.domains.linear.theory import Array
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Measure the fit that sampled each part; the signal is beside that of the real labels."""
    X, y, _ = read_rows(Path(job.input["test"]))
    true: Array = np.asarray(np.linalg.solve(X, y), np.float64)  # as many noiseless rows as dimensions
    inputs, _, _ = read_rows(Path(job.input["train"]))
    real = {"error": 0.0, "signal": float(np.mean((inputs @ true) ** 2))}
    errors: dict[str, Array] = {}

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            part, labels, noise = read_rows(Path(link.part))
            before = None if link.previous is None else errors[link.previous]
            values, errors[link.part] = measures(part, labels - noise, true, before)
            yield from rows(link, values, real)

    write_profile(job, measured())
