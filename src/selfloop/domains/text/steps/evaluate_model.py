"""Rule evaluate_model: a model's cross-entropy on the real test documents."""

from pathlib import Path

import torch

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import COLUMNS, TokenStore
from selfloop.domains.text.model.checkpoint import load_model
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch


def run(job: Job[StepParams]) -> None:
    """Evaluate in float32, whatever the compute dtype of the training."""
    device = prepare_torch(job.threads, job.gpus)
    model = load_model(Path(job.input["checkpoint"]), device=str(device))
    note(job, device, torch.float32, attention=model.attention(device, torch.float32))
    batches = iterate_rows(shard_paths(Path(job.input["test"])), COLUMNS)
    test = TokenStore.in_memory(batches, model.context, model.marks)
    write_measurements(job, {"test": {"cross_entropy": cross_entropy(model, test, device)}})
