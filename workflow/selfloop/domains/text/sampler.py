"""Sampling documents from a language model: static cache, finished sequences leave the batch, one uniform per token."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfloop.domains.text.model import Cache, Transformer
from selfloop.domains.text.tokens import END_OF_TEXT_ID
from selfloop.identity import stream

BLOCK = 512  # sequences that share a stream of random numbers; part of what a part is, so not a setting
COMPACT_EVERY = 8


@torch.inference_mode()
def sample(
    model: Transformer,
    prompts: Tensor,
    sampling: dict[str, Any],
    identity: str,
    on_tokens: Callable[[int], None] = lambda count: None,
) -> list[np.ndarray]:
    """Sample one document per prompt.

    Args:
        model: in the number format and on the device to sample with.
        prompts: int64 [documents, prompt length], begin-of-text first.
        sampling: the config's `sampling` entry.
        identity: names the part; its random numbers derive from it.
        on_tokens: told how many tokens each step sampled.

    Returns:
        Per document its int32 tokens: prompt, sampled tokens, end-of-text where it ended within the maximum length.
    """
    longest = sampling["max_length"] or model.shape.context
    documents: list[np.ndarray] = []
    for number, block in enumerate(torch.split(prompts, BLOCK)):
        generator = torch.Generator().manual_seed(stream(identity, f"block {number}"))
        uniforms = torch.rand(len(block), longest, generator=generator).to(block.device)
        documents += _sample_block(model, block, uniforms, sampling, longest, on_tokens)
    return documents


def _sample_block(
    model: Transformer,
    prompts: Tensor,
    uniforms: Tensor,
    sampling: dict[str, Any],
    longest: int,
    on_tokens: Callable[[int], None],
) -> list[np.ndarray]:
    count, given = prompts.shape
    device = prompts.device
    tokens = torch.zeros(count, longest, dtype=torch.int64, device=device)
    tokens[:, :given] = prompts
    lengths = torch.full((count,), longest, dtype=torch.int64, device=device)
    active = torch.arange(count, device=device)
    alive = torch.ones(count, dtype=torch.bool, device=device)
    cache = Cache(model.shape, count, longest, next(model.parameters()).dtype, device)
    for position in range(longest - 1):
        logits = model.step(tokens[active, position], cache, position)
        if position + 1 < given:
            continue
        chosen = choose(logits, uniforms[active, position + 1], sampling)
        tokens[active, position + 1] = chosen
        ended = (chosen == END_OF_TEXT_ID) & alive
        lengths[active[ended]] = position + 2
        alive &= ~ended
        on_tokens(len(active))
        if position % COMPACT_EVERY == COMPACT_EVERY - 1:
            left = int(alive.sum())
            if left == 0:
                break
            if left <= 0.8 * len(alive):
                kept = alive.nonzero()[:, 0]
                cache.keep(kept)
                active, alive = active[kept], alive[kept]
    ids, ends = tokens.to(torch.int32).cpu().numpy(), lengths.cpu().numpy()
    return [row[:end] for row, end in zip(ids, ends, strict=True)]


def choose(logits: Tensor, uniforms: Tensor, sampling: dict[str, Any]) -> Tensor:
    """The next token of each row, by inverting the cumulative distribution at one uniform number per row.

    Args:
        logits: [rows, vocabulary].
        uniforms: float32 [rows], in [0, 1).
        sampling: temperature (0 is greedy), top_k, top_p.

    Returns:
        int64 [rows].
    """
    if sampling["temperature"] == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / sampling["temperature"]
    if sampling["top_k"] is not None and sampling["top_k"] < logits.shape[-1]:
        smallest = logits.topk(sampling["top_k"], dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if sampling["top_p"] is not None and sampling["top_p"] < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= sampling["top_p"], 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ordered)
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1:].contiguous()  # not exactly 1 in float32
    # Below the total, even for a uniform number that was rounded up to 1: the token found adds to the sum.
    target = torch.minimum(uniforms[:, None] * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]
