"""Rule evaluate_model: a model's loss and its terms on the real test images."""

from pathlib import Path

import torch

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.image.model.checkpoint import load_checkpoint
from selfloop.domains.image.model.loss import measure
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch


def run(job: Job[StepParams]) -> None:
    """Evaluate in float32, whatever the compute dtype of the training."""
    device = prepare_torch(job.threads, job.gpus)
    note(job, device, torch.float32)
    model, kl_weight = load_checkpoint(Path(job.input["checkpoint"]), device=str(device))
    folder = Path(job.input["test"])
    batches = iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP)
    images = torch.from_numpy(image_store.in_memory(batches, str(folder), job.threads))
    write_measurements(job, {"test": measure(model, images, kl_weight, device)})
