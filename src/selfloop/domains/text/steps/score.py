"""Rule score: cross-entropy, length or earlier copies of each document."""

from collections import Counter
from pathlib import Path

import numpy as np

from selfloop.data.scores import ScoreParams as Params
from selfloop.data.scores import write_scores
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.model.checkpoint import load_model
from selfloop.domains.text.model.loss import document_losses
from selfloop.jobs.job import Job
from selfloop.training.devices import prepare_torch

LONGEST = 2**20  # tokens; where no model reads them, documents are not cut


def run(job: Job[Params]) -> None:
    """Write the score of every document, by `job.params.scorer`.

    Cross-entropy is in nats per token; the length in tokens is that without begin- and end-of-text.
    """
    batches = iterate_rows(shard_paths(Path(job.input["part"])), ["input_ids"])
    if job.params.scorer.by == "cross-entropy":
        device = prepare_torch(job.threads, job.gpus)
        model = load_model(Path(job.input["checkpoint"]), device=str(device))
        write_scores(job, document_losses(model, TokenStore.in_memory(batches, model.context, model.marks), device))
        return
    store = TokenStore.in_memory(batches, LONGEST)
    if job.params.scorer.by == "length":
        write_scores(job, store.lengths - 1 - store.ended)
        return
    seen: Counter[bytes] = Counter()
    copies = np.zeros(len(store))
    for row in range(len(store)):
        document = store[row].tobytes()
        copies[row] = seen[document]
        seen[document] += 1
    write_scores(job, -copies)
