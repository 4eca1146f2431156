"""Rule measure_profile: how the fits of one seed's chains err, and how much of an error the next fit has."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selfloop.data.profile_rows import Params, rows, write_profile
from selfloop.domains.linear.data.rows import read_rows
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Of each part that a fit ŵ has sampled, with the error u = ŵ - w*:

    error: ‖u‖; signal: mean square of the labels without noise, beside that of the real ones; cosine: of the errors of
    this fit and the one before; kappa: u_n·u_{n-1}/‖u_{n-1}‖²; kappa_weight: ‖u_{n-1}‖².
    """
    X, y, _ = read_rows(Path(job.input["test"]))
    true = np.linalg.solve(X, y)  # as many noiseless rows as dimensions
    inputs, _, _ = read_rows(Path(job.input["train"]))
    real = {"error": 0.0, "signal": float(np.mean((inputs @ true) ** 2))}
    errors: dict[str, np.ndarray] = {}

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            part, labels, noise = read_rows(Path(link.part))
            signal = labels - noise
            # Also with fewer rows than dimensions: a ridge fit has no part outside of the span of the rows.
            errors[link.part] = error = np.linalg.lstsq(part, signal, rcond=None)[0] - true
            values = {"error": float(np.linalg.norm(error)), "signal": float(np.mean(signal**2))}
            if link.previous is not None:
                before = errors[link.previous]
                square = float(before @ before)
                values["kappa"] = float(error @ before) / square if square > 0 else float("nan")
                values["kappa_weight"] = square
                values["cosine"] = float(error @ before) / max(np.sqrt(square) * values["error"], 1e-300)
            yield from rows(link, values, real)

    write_profile(job, measured())
