"""Cross-entropy of documents under a model, in nats per token."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.model import Transformer
from selfloop.domains.text.tokens import TokenStore, padded

# Targets that are padding. Padding is on the right, so that causal attention alone keeps it out of every real position.
IGNORED = -1


def to_batch(sequences: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets, both int64 [rows, longest - 1]; targets are `IGNORED` where a document has ended."""
    ids = torch.from_numpy(padded(sequences))
    inputs, targets = ids[:, :-1].clamp(min=0), ids[:, 1:]
    return inputs.to(device), targets.contiguous().to(device)


def summed_loss(model: Transformer, inputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy summed over the batch's target tokens, in nats, computed in float32."""
    logits = model(inputs)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def by_length(lengths: np.ndarray, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Indices of all sequences in batches of similar length, each of about `tokens_per_batch` tokens."""
    order = np.argsort(lengths, kind="stable")
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > tokens_per_batch:
            yield np.array(batch)
            batch = []
        batch.append(int(index))
    if batch:
        yield np.array(batch)


@torch.inference_mode()
def cross_entropy(model: Transformer, store: TokenStore, device: torch.device, tokens_per_batch: int = 8192) -> float:
    """Cross-entropy of all documents of `store`, nats per token.

    Every token but the first (begin-of-text) is predicted, end-of-text included, and all count alike, whatever document
    they are in.
    """
    total, count = 0.0, 0
    for indices in by_length(store.lengths, tokens_per_batch):
        inputs, targets = to_batch([store[index] for index in indices], device)
        total += summed_loss(model, inputs, targets).item()
        count += int((targets != IGNORED).sum())
    return total / count
