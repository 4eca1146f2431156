"""Cross-entropy of documents under a model, in nats per token."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfloop.domains.text.data.token_store import TokenStore, padded
from selfloop.domains.text.model.network import Transformer

# Target of padding, which is on the right, so that causal attention keeps it out of every real position.
IGNORED = -1
LOGITS_AT_ONCE = {False: 2**21, True: 2**28}  # values per chunk, on a CPU and on a GPU


def to_batch(sequences: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets, int64 [rows, longest - 1]; padding has the target `IGNORED`."""
    ids = torch.from_numpy(padded(sequences))
    inputs, targets = ids[:, :-1].clamp(min=0), ids[:, 1:]
    return inputs.to(device), targets.contiguous().to(device)


def to_weights(sequences: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Weights of the targets of a batch, float32 [rows, longest]; padding has the weight 0."""
    padded_weights = torch.zeros(len(sequences), max(map(len, sequences)))
    for row, weights in zip(padded_weights, sequences, strict=True):
        row[: len(weights)] = torch.from_numpy(weights)
    return padded_weights.to(device)


def summed_loss(model: Transformer, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy summed over the batch's target tokens, each times its weight, in nats, computed in float32."""
    hidden = model.hidden(inputs).flatten(0, 1)
    targets = targets.flatten()
    weights = None if weights is None else weights.flatten()
    real = (targets != IGNORED).nonzero()[:, 0]
    if len(real) < len(targets):  # no padding in the head, a large part of a small model's FLOPs
        hidden, targets = hidden[real], targets[real]
        weights = None if weights is None else weights[real]
    loss: Tensor = HeadLoss.apply(hidden, model.head_weight, targets, weights)  # type: ignore[no-untyped-call]
    return loss


class HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of the logits hidden · weightᵀ, chunked over rows, with gradients in the forward pass.

    The logits of a batch are by far its largest tensor, and autograd would read and write them several times. Here a
    chunk stays in the processor's cache until its gradient is computed, and is then discarded.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, scales: Tensor | None = None) -> Tensor:
        """hidden [tokens, width], weight [vocabulary, width], targets int64 [tokens]; gives a float32 scalar.

        scales float32 [tokens] multiply the losses of tokens; None for 1.
        """
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        backward = any(ctx.needs_input_grad)
        hidden_gradient = torch.empty_like(hidden) if backward else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if backward else None
        rows = max(1, LOGITS_AT_ONCE[hidden.device.type == "cuda"] // len(weight))
        for begin in range(0, len(hidden), rows):
            chunk, wanted = hidden[begin : begin + rows], targets[begin : begin + rows, None]
            logits = (chunk @ weight.t()).float()
            logits -= logits.amax(dim=1, keepdim=True)
            picked = logits.gather(1, wanted)
            probabilities = logits.exp_()
            total = probabilities.sum(dim=1, keepdim=True)
            losses = total.log() - picked
            scale = None if scales is None else scales[begin : begin + rows, None]
            loss += (losses if scale is None else losses * scale).sum()
            if hidden_gradient is None or weight_gradient is None:
                continue
            probabilities /= total
            probabilities.scatter_(1, wanted, probabilities.gather(1, wanted) - 1)
            if scale is not None:
                probabilities *= scale
            error = probabilities.to(weight.dtype)
            torch.mm(error, weight, out=hidden_gradient[begin : begin + rows])
            if weight.dtype == torch.float32:
                weight_gradient.addmm_(error.t(), chunk)
            else:
                weight_gradient += error.t() @ chunk
        if hidden_gradient is not None and weight_gradient is not None:
            ctx.save_for_backward(hidden_gradient, weight_gradient.to(weight.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The gradients of hidden and weight, scaled by the one of the loss."""
        hidden, weight = (saved * gradients[0].to(saved.dtype) for saved in ctx.saved_tensors)
        return hidden, weight, None, None


def by_length(lengths: np.ndarray, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Batches of indices of sequences of similar length, each of about `tokens_per_batch` tokens."""
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

    All tokens but begin-of-text are predicted, end-of-text included; the mean is over tokens, not documents.
    """
    total, count = 0.0, 0
    for indices in by_length(store.lengths, tokens_per_batch):
        inputs, targets = to_batch([store[index] for index in indices], device)
        total += summed_loss(model, inputs, targets).item()
        count += int((targets != IGNORED).sum())
    return total / count
