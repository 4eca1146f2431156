"""Rule score: cross-entropy, length or earlier copies of each document, and what all domains have."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import COLUMNS, TokenStore
from selfloop.domains.text.data.tokenizer import marks_around
from selfloop.domains.text.model.checkpoint import load_model
from selfloop.domains.text.model.loss import document_losses
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.scoring.detector import Floats, Rows, of_words
from selfloop.scoring.scores import ScoreParams as Params
from selfloop.scoring.scores import checkpoint_of, score_part
from selfloop.training.devices import note, prepare_torch

LONGEST = 2**20  # tokens; where no model reads them, documents are not cut


def run(job: Job[Params]) -> None:
    """Write the score of every document."""
    score_part(job, _features, lambda: _own(job))


def _own(job: Job[Params]) -> Floats:
    """By `job.params.scorer`.

    Cross-entropy is in nats per token, and an oracle's score is minus that; the length in tokens is that without begin-
    and end-of-text and without a prompt.
    """
    scorer = job.params.scorer
    batches = iterate_rows(shard_paths(Path(job.input["part"])), COLUMNS)
    if scorer.scored_under is not None:
        device = prepare_torch(job.threads, job.gpus)
        folder = checkpoint_of(job)
        if scorer.scored_under == "checkpoint":
            _check_tokenizer(folder, job.input["tokenizer"])
        model = load_model(folder, device=str(device))
        note(job, device, next(model.parameters()).dtype)
        losses = document_losses(model, TokenStore.in_memory(batches, model.context, model.marks), device)
        return np.asarray(-losses if scorer.by == "oracle" else losses)
    if scorer.by == "length":
        store = TokenStore.in_memory(batches, LONGEST, marks_around(Tokenizer.from_file(job.input["tokenizer"])))
        return np.asarray(store.predicted - ((store.predicted > 0) & store.ended), dtype=np.float64)
    store = TokenStore.in_memory(batches, LONGEST)
    seen: Counter[bytes] = Counter()
    copies = np.zeros(len(store))
    for row in range(len(store)):
        document = store[row].tobytes()
        copies[row] = seen[document]
        seen[document] += 1
    return -copies


def _check_tokenizer(folder: Path, own: str) -> None:
    """Raise `UserError` for a checkpoint with another tokenizer than the study's, whose tokens it would misread."""
    theirs = folder / "tokenizer.json"
    if not theirs.is_file():
        raise UserError(f"{folder}: there is no tokenizer.json, so it is not known whether its tokens are these.")
    if Tokenizer.from_file(str(theirs)).get_vocab() != Tokenizer.from_file(own).get_vocab():
        raise UserError(f"{folder}: its tokenizer is another one than that of the scored documents, {own}.")


def _features(folder: Path) -> Rows:
    """Unigrams and bigrams of tokens."""
    batches = iterate_rows(shard_paths(folder), ["input_ids"])
    return of_words([_grams(ids) for batch in batches for ids in batch.column("input_ids").to_pylist()])


def _grams(ids: list[int]) -> list[str]:
    return [*map(str, ids), *(f"{one} {other}" for one, other in pairwise(ids))]
