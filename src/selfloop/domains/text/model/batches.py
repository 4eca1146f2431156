"""Training batches: documents of similar length, or full rows packed with documents."""

import math
from collections.abc import Callable, Hashable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from selfloop.config.training_length import TrainingLength
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.model.loss import IGNORED, Batch, cross_entropy, padded_length, summed_loss, to_batch
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.pretrained import Pretrained
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
    """Common base of both kinds of batches: see `selfloop.training.loop.Task`.

    Args:
        tokens: targets of each training document.
        weights: of each training document in the loss; None for 1.
        longest: inputs of the longest row.
    """

    unit = "tokens"

    def __init__(
        self,
        test: TokenStore,
        order: Order,
        batches_per_epoch: int,
        tokens: np.ndarray,
        device: torch.device,
        weights: np.ndarray | None,
        longest: int,
    ) -> None:
        self.test, self.order, self.device, self.weights = test, order, device, weights
        self.longest = longest
        self.batches_per_epoch = batches_per_epoch
        self.steps_per_epoch = float(batches_per_epoch)
        self.steps = order.length.optimizer_steps(batches_per_epoch)
        self.tokens_per_batch = float(tokens.sum() if weights is None else tokens @ weights) / batches_per_epoch

    def share(self, group: ProcessGroup) -> Self:
        """The same task as another rank, or one of more ranks, has it."""
        other = copy(self)
        other.order = replace(self.order, group=group)
        return other

    def rows(self, step: int) -> Sequence[np.ndarray]:
        """Token sequences of a step, for all ranks."""
        raise NotImplementedError

    def row_weights(self, step: int) -> Sequence[np.ndarray]:
        """The weight of every target of `rows`."""
        raise NotImplementedError

    def given(self, step: int) -> np.ndarray | None:
        """Of each of `rows`, the tokens that are given; None if each has one."""
        return None

    def batch(self, step: int) -> Batch:
        """The sequences of a step, and the weights of their targets where documents have weights: this rank's shard."""
        rows, group = self.rows(step), self.order.group
        share = slice(group.rank, None, group.size)
        if not rows[share]:  # fewer rows than ranks: a row without targets
            return to_batch([np.array([self.test.marks.end, IGNORED])], self.device)
        weights = None if self.weights is None else self.row_weights(step)[share]
        given = self.given(step)
        given = None if given is None else given[share]
        length = padded_length(max(map(len, rows[share])) - 1, self.longest, self.device)
        return to_batch(rows[share], self.device, weights, self.test.marks.begin, given, length)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy, nats per token of an average batch.

        Not per token of this batch: batches of short documents have fewer tokens, and would count more. Models would
        learn to end documents too early, and the loop would shorten them ever further.
        """
        assert isinstance(model, Transformer | Pretrained)
        return summed_loss(model, batch) / self.tokens_per_batch

    def graph_key(self, model: nn.Module, batch: Batch) -> Hashable | None:
        """The batch's shape; None where `transformers` computes, or where positions are picked."""
        if isinstance(model, Pretrained) or batch.real is not None:
            return None
        return batch.inputs.shape, batch.weights is None

    def size(self, batch: Batch) -> int:
        """Number of target tokens."""
        return batch.tokens

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy on the real test documents, in the training's compute dtype."""
        assert isinstance(model, Transformer | Pretrained)
        return {"cross_entropy": cross_entropy(model, self.test, self.device)}


class DocumentTask(LanguageTask):
    """One document per row, batched with others of similar length to save padding.

    Each epoch is a fresh permutation, sorted by length within runs of `BATCHES_SORTED_TOGETHER` batches, whose batches
    are then shuffled.
    """

    def __init__(
        self,
        train: TokenStore,
        test: TokenStore,
        order: Order,
        device: torch.device,
        weights: np.ndarray | None = None,
    ) -> None:
        self.train = train
        self._lengths = train.lengths
        batches = math.ceil(len(train) / order.batch_size)
        longest = int(train.lengths.max(initial=1)) - 1
        super().__init__(test, order, batches, train.predicted, device, weights, longest)
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
        return [self.train[row] for row in self._batch(step)]

    def given(self, step: int) -> np.ndarray | None:
        """The tokens of their prompts, begin-of-text included."""
        return self.train.given_of(self._batch(step))

    def row_weights(self, step: int) -> Sequence[np.ndarray]:
        """Their weights."""
        assert self.weights is not None
        return [np.full(self._lengths[row] - 1, self.weights[row], dtype=np.float32) for row in self._batch(step)]

    def _batch(self, step: int) -> np.ndarray:
        return self._epoch(step // self.batches_per_epoch)[step % self.batches_per_epoch]


class PackedTask(LanguageTask):
    """Rows of `context` tokens of the concatenated documents, in a fresh permutation per epoch.

    The begin-of-text of a document is the end-of-text of the one before, where the two are one token; after a truncated
    document it is no target, so that no model learns to end where documents were cut. A begin-of-text of its own
    follows the end-of-text, and is never a target. As is usual with packing, a row may begin within a document, and
    attention crosses document boundaries. Only the last row of an epoch may be padded.
    """

    def __init__(
        self,
        train: TokenStore,
        test: TokenStore,
        order: Order,
        context: int,
        device: torch.device,
        weights: np.ndarray | None = None,
    ) -> None:
        self.train, self.context = train, context
        # Those whose end-of-text is the begin-of-text of the next.
        self._ended = (train.lengths > 1) & train.ended & (train.marks.begin == train.marks.end)
        self._lengths = train.lengths - self._ended
        self._tokens = int(self._lengths.sum())
        rows = math.ceil(self._tokens / context)
        super().__init__(test, order, math.ceil(rows / order.batch_size), train.lengths - 1, device, weights, context)
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
        return [self._row(step, row, self._piece) for row in self._numbers(step)]

    def row_weights(self, step: int) -> Sequence[np.ndarray]:
        """The weights of all tokens of these rows but the first, which is no target."""
        return [self._row(step, row, self._weights)[1:] for row in self._numbers(step)]

    def _numbers(self, step: int) -> range:
        first = step % self.batches_per_epoch * self.order.batch_size
        return range(first, min(first + self.order.batch_size, self._total_rows))

    def _row(self, step: int, row: int, piece: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        epoch = step // self.batches_per_epoch
        order, ends = self._epoch(epoch)
        begin, end = row * self.context, min((row + 1) * self.context, self._tokens)
        first, last = np.searchsorted(ends, [begin, end - 1], side="right")
        start = ends[first] - self._lengths[order[first]]
        # One more document than the row reaches into, for the token that follows the row.
        pieces = [piece(order, index) for index in range(first, min(last + 2, len(order)))]
        pieces.append(piece(order, len(order)))
        return np.concatenate(pieces)[begin - start : end - start + 1]

    def _piece(self, order: np.ndarray, index: int) -> np.ndarray:
        """The document at `index` of the order, without its end-of-text if that is the next one's begin-of-text; after
        the last one, that.

        Its begin-of-text is `IGNORED` if it is not the end-of-text of the document before it.
        """
        begin = np.array(
            [self.train.marks.begin if index == 0 or self._ended[order[index - 1]] else IGNORED], dtype=np.int32
        )
        if index == len(order):
            return begin
        return np.concatenate([begin, self.train[order[index]][1 : self._lengths[order[index]]]], dtype=np.int32)

    def _weights(self, order: np.ndarray, index: int) -> np.ndarray:
        """The weights of `_piece`: of a begin-of-text, that of the document which it ends."""
        assert self.weights is not None
        before = np.full(1, self.weights[order[index - 1]] if index else 0.0, dtype=np.float32)
        if index == len(order):
            return before
        row = order[index]
        return np.concatenate([before, np.full(self._lengths[row] - 1, self.weights[row])], dtype=np.float32)
