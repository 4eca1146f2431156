"""Rule evaluate_model: a model's losses on the real test conformations, total, global and local."""

from pathlib import Path

import numpy as np

from selfloop.devices import prepare_torch
from selfloop.domains.molecule.checkpoint import load_checkpoint
from selfloop.domains.molecule.conformations import read_conformations
from selfloop.domains.molecule.diffusion import sigmas
from selfloop.domains.molecule.draws import TEST_DRAWS
from selfloop.domains.molecule.loss import held_out_losses
from selfloop.job import Job
from selfloop.measurements import write_measurements


def run(job: Job) -> None:
    """Measure with times and noise that are the same for every model."""
    device = prepare_torch(job.threads)
    model, config = load_checkpoint(Path(job.input["checkpoint"]), str(device))
    test = read_conformations(Path(job.input["test"]))
    values = held_out_losses(model, sigmas(config), test, np.arange(len(test)), device, TEST_DRAWS)
    for metric, value in values.items():
        job.log.info("test %s %.4f", metric, value)
    write_measurements(Path(job.output["measurements"]), "test", values)
