"""Rule measure_baseline: the test losses of a network whose scores are all zero."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from selfloop.data.measurements import write_measurements
from selfloop.domains.molecule.config import Model
from selfloop.domains.molecule.data.conformations import read_conformations
from selfloop.domains.molecule.model.evaluation import TEST_DRAWS
from selfloop.domains.molecule.model.loss import held_out_losses
from selfloop.domains.molecule.model.network import GeoDiff, Shape
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch


class Params(StepParams):
    """What the step takes of its params."""

    model: Model


def run(job: Job[Params]) -> None:
    """With the times and the noise that all models are evaluated with."""
    device = prepare_torch(job.threads, job.gpus)
    note(job, device, torch.float32)
    model = GeoDiff(Shape.of(job.params.model))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    test = read_conformations(Path(job.input["test"]))
    levels = sigmas(job.params.model)
    values = held_out_losses(model.to(device).eval(), levels, test, np.arange(len(test)), device, TEST_DRAWS)
    write_measurements(job, {"test-baseline": values})
