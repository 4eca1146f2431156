"""Training batches: documents of similar length, or full rows packed with documents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from selfloop.config.training_length import TrainingLength
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.model.loss import IGNORED, cross_entropy, summed_loss, to_batch
from selfloop.domains.text.model.network import Transformer
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup

BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True)
class Order:
    """Order and sharding of the training documents.

    Attributes:
        length: epochs or optimizer steps.
        batch_size: rows per optimizer step, over all ranks.
        seed: of the permutations.
        group: the ranks that share each batch.
    """

    length: TrainingLength
    batch_size: int
    seed: int
    group: ProcessGroup = SINGLE_PROCESS


class LanguageTask:
    """Common base of both kinds of batches: see `selfloop.training.loop.Task`."""

    unit = "tokens"

    def __init__(
        self, test: TokenStore, order: Order, batches_per_epoch: int, tokens: int, device: torch.device
    ) -> None:
        self.test, self.order, self.device = test, order, device
        self.batches_per_epoch = batches_per_epoch
        self.steps_per_epoch = float(batches_per_epoch)
        self.steps = order.length.optimizer_steps(batches_per_epoch)
        self.tokens_per_batch = tokens / batches_per_epoch

    def rows(self, step: int) -> Sequence[np.ndarray]:
        """Token sequences of a step, for all ranks."""
        raise NotImplementedError

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step: this rank's shard."""
        rows, group = self.rows(step), self.order.group
        share = rows[group.rank :: group.size]
        if not share:  # fewer rows than ranks: a row without targets
            inputs, targets = to_batch(rows[:1], self.device)
            return inputs, torch.full_like(targets, IGNORED)
        return to_batch(share, self.device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy, nats per token of an average batch.

        Not per token of this batch: batches of short documents have fewer tokens, and would count more. Models would
        learn to end documents too early, and the loop would shorten them ever further.
        """
        assert isinstance(model, Transformer)
        return summed_loss(model, *batch) / self.tokens_per_batch

    def size(self, batch: tuple[Tensor, Tensor]) -> int:
        """Number of target tokens."""
        return int((batch[1] != IGNORED).sum())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy on the real test documents, in the training's compute dtype."""
        assert isinstance(model, Transformer)
        return {"cross_entropy": cross_entropy(model, self.test, self.device)}


class DocumentTask(LanguageTask):
    """One document per row, batched with others of similar length to save padding.

    Each epoch is a fresh permutation, sorted by length within runs of `BATCHES_SORTED_TOGETHER` batches, whose batches
    are then shuffled.
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
    """Rows of `context` tokens of the concatenated documents, in a fresh permutation per epoch.

    The begin-of-text of a document is the end-of-text of the one before; after a truncated document it is no target, so
    that no model learns to end where documents were cut. As is usual with packing, a row may begin within a document,
    and attention crosses document boundaries. The last row of an epoch may be shorter; there is no other padding.
    """

    def __init__(self, train: TokenStore, test: TokenStore, order: Order, context: int, device: torch.device) -> None:
        self.train, self.context = train, context
        self._ended = (train.lengths > 1) & train.ended
        self._lengths = train.lengths - self._ended
        self._tokens = int(self._lengths.sum())
        rows = math.ceil(self._tokens / context)
        predicted = self._tokens - int((~self._ended).sum())
        super().__init__(test, order, math.ceil(rows / order.batch_size), predicted, device)
        self._total_rows = rows
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The documents' order, and their end offsets in the concatenation."""
        order = np.random.default_rng([self.order.seed, epoch]).permutation(len(self.train))
        return order, np.cumsum(self._lengths[order])

    def rows(self, step: int) -> Sequence[np.ndarray]:
        """The packed rows of a step: `context` tokens and the one that follows them.

        A begin-of-text that is no target is `IGNORED`, which `to_batch` reads as begin-of-text where it is an input.
        """
        epoch, index = divmod(step, self.batches_per_epoch)
        first = index * self.order.batch_size
        return [self._row(epoch, row) for row in range(first, min(first + self.order.batch_size, self._total_rows))]

    def _row(self, epoch: int, row: int) -> np.ndarray:
        order, ends = self._epoch(epoch)
        begin, end = row * self.context, min((row + 1) * self.context, self._tokens)
        first, last = np.searchsorted(ends, [begin, end - 1], side="right")
        start = ends[first] - self._lengths[order[first]]
        # One more document than the row reaches into, for the token that follows the row.
        pieces = [self._piece(order, index) for index in range(first, min(last + 2, len(order)))]
        pieces.append(self._begin(order, len(order)))
        return np.concatenate(pieces)[begin - start : end - start + 1]

    def _piece(self, order: np.ndarray, index: int) -> np.ndarray:
        """The document at `index` of the order, without its end-of-text."""
        tokens = self.train[order[index]][1 : self._lengths[order[index]]]
        return np.concatenate([self._begin(order, index), tokens], dtype=np.int32)

    def _begin(self, order: np.ndarray, index: int) -> np.ndarray:
        """Its begin-of-text, `IGNORED` if the document before it was truncated."""
        return np.array([END_OF_TEXT_ID if index == 0 or self._ended[order[index - 1]] else IGNORED], dtype=np.int32)
