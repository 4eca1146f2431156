"""Cross-entropy of documents under a model, in nats per token."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.data.token_store import TokenStore, padded
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.kernels.gpu.head_loss import head_loss
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.pretrained import Pretrained
from selfloop.training.transfer import to_device
from selfloop.training.triton_available import triton_runs_on

# Target of padding, which is on the right, so that causal attention keeps it out of every real position.
IGNORED = -1
LOGITS_AT_ONCE = {False: 2**21, True: 2**28}  # values per chunk, on a CPU and on a GPU
TOKENS_AT_ONCE = {False: 2**13, True: 2**16}  # evaluated per batch, likewise
# Lengths of training batches are multiples of this, likewise: on a GPU, each length is a CUDA graph of its own.
LENGTHS = {False: 1, True: 16}


class Batch(NamedTuple):
    """Token sequences of a step.

    Attributes:
        inputs, targets: int64 [rows, length]; padding has the target `IGNORED`.
        tokens: number of targets without padding.
        real: their indices in the flat targets; None if all are, or if the head ignores padding by itself.
        ignores: whether it does.
        weights: of the targets, float32 [rows, length]; None for 1.
    """

    inputs: Tensor
    targets: Tensor
    tokens: int
    real: Tensor | None
    ignores: bool
    weights: Tensor | None = None


def ignores_padding(device: torch.device) -> bool:
    """Whether the head computes padding and ignores it.

    On a CPU it is left out, as the head is a large part of a small model's FLOPs. On a GPU there is little of it, and
    the gradient of what selects the rest is a sort.
    """
    return device.type == "cuda"


def padded_length(longest: int, most: int, device: torch.device) -> int:
    """The length that a batch of training is padded to.

    Args:
        longest: inputs of the longest sequence of the batch.
        most: those of the longest of all batches, which is a length whatever it is a multiple of.
        device: of the batch.
    """
    multiple = LENGTHS[device.type == "cuda"]
    return min(-(-longest // multiple) * multiple, max(longest, most))


def to_batch(
    sequences: Sequence[np.ndarray],
    device: torch.device,
    weights: Sequence[np.ndarray] | None = None,
    begin: int = END_OF_TEXT_ID,
    given: np.ndarray | None = None,
    length: int | None = None,
) -> Batch:
    """A batch of token sequences. What is counted is counted on the host: the device is not waited for.

    Args:
        sequences: int [tokens] each; `IGNORED` is no target.
        device: of the batch.
        weights: [tokens - 1] each, of the targets.
        begin: the id that an input has which is no target, or padding.
        given: [sequences], the first tokens of each that are inputs alone; None for the first one.
        length: of the inputs; None for that of the longest sequence.
    """
    padded_ids = padded(sequences, None if length is None else length + 1)
    predicted = padded_ids[:, 1:]
    if given is not None:
        predicted = np.where(np.arange(1, padded_ids.shape[1]) < given[:, None], IGNORED, predicted)
    real = np.flatnonzero(predicted != IGNORED)
    ids = to_device(padded_ids, device)
    inputs, targets = ids[:, :-1], ids[:, 1:].contiguous() if given is None else to_device(predicted, device)
    inputs = inputs.clamp(min=0) if begin == 0 else inputs.masked_fill(inputs < 0, begin)
    ignores = ignores_padding(device)
    kept = None if ignores or len(real) == targets.numel() else torch.from_numpy(real).to(device)
    scales = None if weights is None else to_weights(weights, device, targets.shape[1])
    return Batch(inputs, targets, len(real), kept, ignores, scales)


def to_weights(sequences: Sequence[np.ndarray], device: torch.device, length: int) -> Tensor:
    """Weights of the targets of a batch, float32 [rows, length]; padding has the weight 0."""
    padded_weights = torch.zeros(len(sequences), length)
    for row, weights in zip(padded_weights, sequences, strict=True):
        row[: len(weights)] = torch.from_numpy(weights)
    return to_device(padded_weights, device)


def summed_loss(model: Transformer | Pretrained, batch: Batch) -> Tensor:
    """Cross-entropy summed over the batch's target tokens, each times its weight, in nats, computed in float32."""
    if isinstance(model, Pretrained) and not model.plain_head:
        logits, flat = model(batch.inputs).flatten(0, 1).float(), batch.targets.flatten()
        losses = F.cross_entropy(logits, flat, ignore_index=IGNORED, reduction="none")
        return losses.sum() if batch.weights is None else losses @ batch.weights.flatten()
    hidden, targets = model.hidden(batch.inputs).flatten(0, 1), batch.targets.flatten()
    weights = None if batch.weights is None else batch.weights.flatten()
    if batch.real is not None:
        hidden, targets = hidden[batch.real], targets[batch.real]
        weights = None if weights is None else weights[batch.real]
    loss: Tensor = HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden, model.head_weight, targets, weights, batch.ignores
    )
    return loss


class Context(Protocol):
    """What autograd keeps between the two passes."""

    needs_input_grad: Sequence[bool]
    saved_tensors: tuple[Tensor, Tensor | None]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


class HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of the logits hidden · weightᵀ, chunked over rows, with gradients in the forward pass.

    The logits of a batch are by far its largest tensor, and autograd would read and write them several times. Here a
    chunk stays in the processor's cache until its gradient is computed, and is then discarded.
    """

    @staticmethod
    def forward(
        ctx: Context,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        scales: Tensor | None = None,
        ignores: bool = False,
    ) -> Tensor:
        """hidden [tokens, width], weight [vocabulary, width], targets int64 [tokens]; gives a float32 scalar.

        scales float32 [tokens] multiply the losses of tokens; None for 1. Where it `ignores` targets that are
        `IGNORED`, there may be such; else there is none.
        """
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        backward = any(ctx.needs_input_grad) and not torch.is_inference_mode_enabled()
        hidden_gradient = torch.empty_like(hidden) if backward else None
        trained = backward and ctx.needs_input_grad[1]  # not the head of a checkpoint beside which an adapter is
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if trained else None
        error_of = _error if not ignores else _fused_error if triton_runs_on(hidden.device) else _ignoring_error
        rows = max(1, LOGITS_AT_ONCE[hidden.device.type == "cuda"] // len(weight))
        for begin in range(0, len(hidden), rows):
            chunk, wanted = hidden[begin : begin + rows], targets[begin : begin + rows]
            scale = None if scales is None else scales[begin : begin + rows]
            added, error = error_of(chunk @ weight.t(), wanted, scale, backward)
            loss += added
            if hidden_gradient is None or error is None:
                continue
            torch.mm(error, weight, out=hidden_gradient[begin : begin + rows])
            if weight_gradient is None:
                continue
            if weight.dtype == torch.float32:
                weight_gradient.addmm_(error.t(), chunk)
            else:
                weight_gradient += error.t() @ chunk
        if hidden_gradient is not None:
            ctx.save_for_backward(
                hidden_gradient, None if weight_gradient is None else weight_gradient.to(weight.dtype)
            )
        return loss

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        """The gradients of hidden and, where it is trained, weight, scaled by the one of the loss."""
        hidden, weight = ctx.saved_tensors
        scale = gradients[0].to(hidden.dtype)
        return hidden * scale, None if weight is None else weight * scale, None, None, None


def _error(logits: Tensor, targets: Tensor, scales: Tensor | None, backward: bool) -> tuple[Tensor, Tensor | None]:
    """Summed cross-entropy of logits [rows, vocabulary], and its gradient in their dtype; for a CPU, in place."""
    dtype, wanted = logits.dtype, targets[:, None]
    logits = logits.float()
    logits -= logits.amax(dim=1, keepdim=True)
    picked = logits.gather(1, wanted)
    probabilities = logits.exp_()
    total = probabilities.sum(dim=1, keepdim=True)
    losses = total.log() - picked
    loss = (losses if scales is None else losses * scales[:, None]).sum()
    if not backward:
        return loss, None
    probabilities /= total
    probabilities.scatter_(1, wanted, probabilities.gather(1, wanted) - 1)
    if scales is not None:
        probabilities *= scales[:, None]
    return loss, probabilities.to(dtype)


def _ignoring_error(
    logits: Tensor, targets: Tensor, scales: Tensor | None, backward: bool
) -> tuple[Tensor, Tensor | None]:
    """The same by torch's fused operations, which also ignore padding: fewer launches, and no scatter, which on a GPU
    would be a sort.
    """
    with torch.set_grad_enabled(backward):
        leaf = logits.requires_grad_() if backward else logits
        surprise = leaf.log_softmax(dim=1, dtype=torch.float32)
        losses = F.nll_loss(surprise, targets, ignore_index=IGNORED, reduction="none")
        loss = (losses if scales is None else losses * scales).sum()
        return loss.detach(), torch.autograd.grad(loss, leaf)[0] if backward else None


def _fused_error(
    logits: Tensor, targets: Tensor, scales: Tensor | None, backward: bool
) -> tuple[Tensor, Tensor | None]:
    """The same by our kernel, which reads and writes the logits once; the gradient takes their place."""
    losses = head_loss(logits, targets, scales, backward)
    return losses.sum(), logits if backward else None


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
def document_losses(model: Transformer | Pretrained, store: TokenStore, device: torch.device) -> np.ndarray:
    """Cross-entropy of each document of `store`, nats per token, float64 [documents].

    A document without a token to predict has 0.
    """
    found = np.zeros(len(store))
    for indices in by_length(store.lengths, max(256, 2**24 // model.vocabulary)):
        batch = to_batch([store[index] for index in indices], device, given=store.given_of(indices))
        own = isinstance(model, Transformer)
        logits = model.hidden(batch.inputs) @ model.head_weight.t() if own else model(batch.inputs)
        logits = logits.float().flatten(0, 1)
        losses = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORED, reduction="none")
        sums = losses.view(batch.targets.shape).double().sum(dim=1)
        found[indices] = (sums / (batch.targets != IGNORED).sum(dim=1).clamp(min=1)).cpu().numpy()
    return found


@torch.inference_mode()
def cross_entropy(
    model: Transformer | Pretrained, store: TokenStore, device: torch.device, tokens_per_batch: int | None = None
) -> float:
    """Cross-entropy of all documents of `store`, nats per token.

    All tokens but begin-of-text and prompts are predicted, end-of-text included; the mean is over tokens, not
    documents.
    """
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    for indices in by_length(store.lengths, tokens_per_batch or TOKENS_AT_ONCE[device.type == "cuda"]):
        batch = to_batch([store[index] for index in indices], device, given=store.given_of(indices))
        total += summed_loss(model, batch)
        count += batch.tokens
    return total.item() / count
