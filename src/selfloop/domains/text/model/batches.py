"""What a training step sees: batches of documents of similar length, or of full rows packed with documents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.model.loss import IGNORED, cross_entropy, summed_loss, to_batch
from selfloop.domains.text.model.network import Transformer
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.lr_schedule import steps_of

BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True)
class Order:
    """How a training goes through its documents.

    Attributes:
        epochs: passes over the training set; may be a fraction.
        batch_size: rows per optimizer step, over all processes.
        seed: of the permutations.
        group: the processes that share each batch.
    """

    epochs: float
    batch_size: int
    seed: int
    group: ProcessGroup = SINGLE_PROCESS


class LanguageTask:
    """What both kinds of batches have in common: see `selfloop.training.loop.Task`."""

    unit = "tokens"

    def __init__(
        self, test: TokenStore, order: Order, batches_per_epoch: int, tokens: int, device: torch.device
    ) -> None:
        self.test, self.order, self.device = test, order, device
        self.batches_per_epoch = batches_per_epoch
        self.steps_per_epoch = float(batches_per_epoch)
        self.steps = steps_of(order.epochs, batches_per_epoch)
        self.tokens_per_batch = tokens / batches_per_epoch

    def rows(self, step: int) -> Sequence[np.ndarray]:
        """The token sequences of a step, for all processes."""
        raise NotImplementedError

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step: this process's share."""
        rows, group = self.rows(step), self.order.group
        share = rows[group.rank :: group.size]
        if not share:  # fewer rows than processes: a row of which nothing is learnt
            inputs, targets = to_batch(rows[:1], self.device)
            return inputs, torch.full_like(targets, IGNORED)
        return to_batch(share, self.device)

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


class DocumentTask(LanguageTask):
    """One document per row, batched with others of similar length so that little is padding.

    Each epoch is a fresh permutation; runs of `BATCHES_SORTED_TOGETHER` batches are sorted by length within, and the
    batches are shuffled again.
    """

    def __init__(self, train: TokenStore, test: TokenStore, order: Order, device: torch.device) -> None:
        self.train = train
        self._lengths = train.lengths
        batches = math.ceil(len(train) / order.batch_size)
        super().__init__(test, order, batches, int((self._lengths - 1).sum()), device)
        self._epoch = lru_cache(maxsize=2)(self._batches)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.order.seed, epoch])
        order = generator.permutation(len(self.train))
        size = self.order.batch_size
        batches = []
        for begin in range(0, len(order), size * BATCHES_SORTED_TOGETHER):
            rows = order[begin : begin + size * BATCHES_SORTED_TOGETHER]
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            batches += [rows[i : i + size] for i in range(0, len(rows), size)]
        return [batches[i] for i in generator.permutation(len(batches))]

    def rows(self, step: int) -> Sequence[np.ndarray]:
        """The documents of a step."""
        batch = self._epoch(step // self.batches_per_epoch)[step % self.batches_per_epoch]
        return [self.train[row] for row in batch]


class PackedTask(LanguageTask):
    """Rows of `context` tokens cut from the documents one after the other, in a fresh permutation at each epoch.

    The begin-of-text of the next document is the end-of-text of the one before; after one that was cut before its end
    it is no target, so that no model learns to end where documents were cut. A row may begin within a document, and
    attention reaches back over its begin-of-text, as is usual for packed language models. The last row of an epoch may
    be shorter; there is no other padding.
    """

    def __init__(self, train: TokenStore, test: TokenStore, order: Order, context: int, device: torch.device) -> None:
        self.train, self.context = train, context
        self._ended = (train.lengths > 1) & train.ended
        self._lengths = train.lengths - self._ended
        self._tokens = int(self._lengths.sum())
        rows = math.ceil(self._tokens / context)
        predicted = self._tokens - int((~self._ended).sum())
        super().__init__(test, order, math.ceil(rows / order.batch_size), predicted, device)
        self._rows_in_all = rows
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents' order, and where each ends in the stream that they make."""
        order = np.random.default_rng([self.order.seed, epoch]).permutation(len(self.train))
        return order, np.cumsum(self._lengths[order])

    def rows(self, step: int) -> Sequence[np.ndarray]:
        """The packed rows of a step: `context` tokens and the one that follows them.

        A begin-of-text that is no target is `IGNORED`, which `to_batch` takes for begin-of-text where it is an input.
        """
        epoch, place = divmod(step, self.batches_per_epoch)
        first = place * self.order.batch_size
        return [self._row(epoch, row) for row in range(first, min(first + self.order.batch_size, self._rows_in_all))]

    def _row(self, epoch: int, row: int) -> np.ndarray:
        order, ends = self._epoch(epoch)
        begin, end = row * self.context, min((row + 1) * self.context, self._tokens)
        first, last = np.searchsorted(ends, [begin, end - 1], side="right")
        start = ends[first] - self._lengths[order[first]]
        # One more document than the row reaches into, for the token that follows the row.
        pieces = [self._piece(order, place) for place in range(first, min(last + 2, len(order)))]
        pieces.append(self._begin(order, len(order)))
        return np.concatenate(pieces)[begin - start : end - start + 1]

    def _piece(self, order: np.ndarray, place: int) -> np.ndarray:
        """The document at that place, without its end-of-text."""
        tokens = self.train[order[place]][1 : self._lengths[order[place]]]
        return np.concatenate([self._begin(order, place), tokens], dtype=np.int32)

    def _begin(self, order: np.ndarray, place: int) -> np.ndarray:
        """The begin-of-text there, as the target that the document before it makes of it."""
        return np.array([END_OF_TEXT_ID if place == 0 or self._ended[order[place - 1]] else IGNORED], dtype=np.int32)
