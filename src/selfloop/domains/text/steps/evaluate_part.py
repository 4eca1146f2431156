"""Rule evaluate_part: losses and statistics of one sampled data set."""

from pathlib import Path

import torch

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import COLUMNS, TokenStore
from selfloop.domains.text.metrics import text_statistics
from selfloop.domains.text.model.checkpoint import load_model
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.jobs.job import Job
from selfloop.training.devices import note, prepare_torch


def run(job: Job[Params]) -> None:
    """Cross-entropy under the model that sampled the part and under the chain's first model, and text statistics."""
    device = prepare_torch(job.threads, job.gpus)
    sampler = load_model(Path(job.input["checkpoint"]), device=str(device))
    note(job, device, torch.float32, attention=sampler.attention(device, torch.float32))
    context = sampler.context
    batches = iterate_rows(shard_paths(Path(job.input["part"])), COLUMNS)
    part = TokenStore.in_memory(batches, context, sampler.marks)
    values = {"cross_entropy_under_sampling_model": cross_entropy(sampler, part, device)}
    if job.input["first"] == job.input["checkpoint"]:
        values["cross_entropy_under_first_model"] = values["cross_entropy_under_sampling_model"]
    else:
        first = load_model(Path(job.input["first"]), device=str(device))
        values["cross_entropy_under_first_model"] = cross_entropy(first, part, device)
    values |= text_statistics(part.responses())
    write_measurements(job, {"synthetic": values}, job.params.part)
