"""Rule train: fit one language model to its training set, one document per row."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from selfloop import fit, training_set
from selfloop.devices import prepare_torch
from selfloop.domains.text.checkpoint import save_checkpoint
from selfloop.domains.text.loss import IGNORED, cross_entropy, summed_loss, to_batch
from selfloop.domains.text.model import Transformer, build
from selfloop.domains.text.tokens import END_OF_TEXT_ID, TokenStore
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.job import Job
from selfloop.learning_curve import write_curve
from selfloop.saved_state import SavedState
from selfloop.schedule import Schedule
from selfloop.shards import iterate_rows, shard_paths
from selfloop.whole import whole_folder

BATCHES_SORTED_TOGETHER = 50


class DocumentTask:
    """Documents in random order, batched with others of similar length so that little is padding.

    Each epoch is a fresh permutation; runs of `BATCHES_SORTED_TOGETHER` batches are sorted by length within, and the
    batches are shuffled again.
    """

    unit = "tokens"

    def __init__(
        self, train: TokenStore, test: TokenStore, epochs: float, batch_size: int, seed: int, device: torch.device
    ) -> None:
        self.train, self.test, self.device = train, test, device
        self.batch_size, self.seed = batch_size, seed
        self.batches_per_epoch = math.ceil(len(train) / batch_size)
        self.steps_per_epoch = float(self.batches_per_epoch)
        self.steps = math.ceil(epochs * self.batches_per_epoch)
        self._lengths = train.lengths
        self.tokens_per_batch = float((self._lengths - 1).sum()) / self.batches_per_epoch
        self._epoch = lru_cache(maxsize=2)(self._batches)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.train))
        group = self.batch_size * BATCHES_SORTED_TOGETHER
        batches = []
        for begin in range(0, len(order), group):
            rows = order[begin : begin + group]
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            batches += [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step."""
        rows = self._epoch(step // self.batches_per_epoch)[step % self.batches_per_epoch]
        return to_batch([self.train[row] for row in rows], self.device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy, nats per token of an average batch.

        Not per token of this batch: batches of short documents have fewer tokens, and a mean over each would let those
        count more. Models would learn to end their documents too early, and the loop would shorten them ever further.
        """
        assert isinstance(model, Transformer)
        return summed_loss(model, *batch) / self.tokens_per_batch

    def size(self, batch: tuple[Tensor, Tensor]) -> int:
        """Tokens that are predicted."""
        return int((batch[1] != IGNORED).sum())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy on the real test documents, in the number format of the training."""
        assert isinstance(model, Transformer)
        return {"cross_entropy": cross_entropy(model, self.test, self.device)}


def run(job: Job) -> None:
    """Train from `job.input.training_set`; write a checkpoint and a learning curve."""
    device = prepare_torch(job.threads)
    settings, training = job.params["model"], job.params["training"]
    state = SavedState(Path(job.params["state"]), job.fingerprint(), job.every_seconds)
    context = settings["context"]
    folder = Path(job.input["training_set"])
    tokens = Path(job.params["state"]) / "tokens"
    train = TokenStore.create(training_set.rows(folder, ["input_ids"]), context, tokens)
    test = TokenStore.in_memory(iterate_rows(shard_paths(Path(job.input["test"])), ["input_ids"]), context)
    unfinished = int((train.tokens[train.bounds[1:] - 1] != END_OF_TEXT_ID).sum())
    job.log.info(
        "%d documents, %s tokens to train on; %d of them do not reach their end within the context of %d tokens",
        len(train), f"{train.bounds[-1]:,}", unfinished, context,
    )  # fmt: skip
    if len(train) < training["batch_size"]:
        raise UserError(
            f"{folder} has {len(train)} documents, fewer than training.batch_size, {training['batch_size']}."
        )
    identity = job.params["identity"]
    model = build(settings, stream(identity, "weights"))
    task = DocumentTask(train, test, training["epochs"], training["batch_size"], stream(identity, "batches"), device)
    result = fit.fit(model, task, Schedule.of(training), state, device, job.progress)
    write_curve(result.curve, Path(job.output["learning_curve"]))
    with whole_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(model, result.weights, Path(job.input["tokenizer"]), scratch)
    state.delete()
