"""Rule evaluate_part: signal and noise of one sampled data set."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.domains.linear.data.rows import read_rows
from selfloop.domains.linear.model.checkpoint import load_checkpoint
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Mean squares over the part's rows, in the squared unit of y.

    signal: of the labels without noise; noise: of the noise; drift: of the signal's difference from that of the chain's
    first model.
    """
    X, y, noise = read_rows(Path(job.input["part"]))
    first = load_checkpoint(Path(job.input["first"]))
    signal = y - noise
    squares = {"signal": signal, "noise": noise, "drift": signal - X @ first}
    values = {metric: float(np.mean(array**2)) for metric, array in squares.items()}
    write_measurements(job, {"synthetic": values}, job.params.part)
