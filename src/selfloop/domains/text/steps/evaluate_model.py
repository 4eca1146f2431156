"""Rule evaluate_model: a model's cross-entropy on the real test documents."""

from pathlib import Path

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.tokens import TokenStore
from selfloop.domains.text.model.checkpoint import load_checkpoint
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.jobs.job import Job
from selfloop.training.devices import prepare_torch


def run(job: Job) -> None:
    """Measure in float32, whatever the number format of the training."""
    device = prepare_torch(job.threads)
    model = load_checkpoint(Path(job.input["checkpoint"]), device=str(device))
    batches = iterate_rows(shard_paths(Path(job.input["test"])), ["input_ids"])
    value = cross_entropy(model, TokenStore.in_memory(batches, model.shape.context), device)
    job.log.info("test cross-entropy %.4f nats per token", value)
    write_measurements(Path(job.output["measurements"]), "test", {"cross_entropy": value})
