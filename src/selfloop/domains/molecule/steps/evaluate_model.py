"""Rule evaluate_model: a model's losses on the real test conformations, total, global and local."""

from pathlib import Path

import numpy as np
import torch

from selfloop.data.measurements import write_measurements
from selfloop.domains.molecule.data.conformations import read_conformations
from selfloop.domains.molecule.model.checkpoint import load_checkpoint
from selfloop.domains.molecule.model.evaluation import TEST_DRAWS
from selfloop.domains.molecule.model.loss import held_out_losses
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch


def run(job: Job[StepParams]) -> None:
    """Evaluate with times and noise that are common to all models."""
    device = prepare_torch(job.threads, job.gpus)
    note(job, device, torch.float32)
    model, config = load_checkpoint(Path(job.input["checkpoint"]), str(device))
    test = read_conformations(Path(job.input["test"]))
    values = held_out_losses(model, sigmas(config), test, np.arange(len(test)), device, TEST_DRAWS)
    write_measurements(job, {"test": values})
