"""Rule evaluate_part: what one sampled data set consists of, signal and noise."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.linear.data.rows import read_rows
from selfloop.domains.linear.model.checkpoint import load_checkpoint
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Mean squares over the part's rows, in the squared unit of y.

    signal: of the labels without their noise; noise: of the noise drawn; drift: of what the signal differs by from that
    of the chain's first model.
    """
    X, y, noise = read_rows(Path(job.input["part"]))
    first = load_checkpoint(Path(job.input["first"]))
    signal = y - noise
    squares = {"signal": signal, "noise": noise, "drift": signal - X @ first}
    values = {metric: float(np.mean(each**2)) for metric, each in squares.items()}
    for metric, value in values.items():
        job.log.info("%s %.6g", metric, value)
    write_measurements(Path(job.output["measurements"]), "synthetic", values, job.params["part"])
