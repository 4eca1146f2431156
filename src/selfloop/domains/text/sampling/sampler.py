"""Sampling documents from a language model: finished ones give their place to waiting ones, one uniform per token.

Documents that begin together form a cohort: all at the same position, with a cache of their own. Everything but
attention runs on all cohorts at once; attention runs cohort by cohort. So no step works on padding, and the batch stays
full until no document is waiting.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.model.kv_cache import CacheMemory, KVCache
from selfloop.domains.text.model.network import Transformer
from selfloop.identity import stream

BLOCK = 512  # documents that share a stream of random numbers; part of what a part is, so not a setting
SLICES = 64  # at most so many in a part; see `slices`
LOOK_EVERY = 8  # steps between looks for documents that have ended
WORTH_DROPPING = 1 / 8  # share of a cohort that has ended, from which on its cache is copied without them
SUMMED = 64  # neighbouring tokens whose probabilities are summed before the search


def slices(rows: int) -> list[range]:
    """The rows of a part in slices, each sampled for itself: what jobs that share a part divide among them.

    The rounding of matrix products depends on what else is in the batch. A document's company is its slice, whoever
    samples it, so the part is the same whatever the number of jobs.
    """
    size = BLOCK * max(1, -(-rows // (SLICES * BLOCK)))
    return [range(begin, min(begin + size, rows)) for begin in range(0, rows, size)]


def share_of(rows: int, rank: int, size: int) -> range:
    """The rows that one of `size` processes samples: whole slices, one after the other."""
    parts = slices(rows)
    begin, end = (len(parts) * part // size for part in (rank, rank + 1))
    share = parts[begin:end]
    return range(share[0].start, share[-1].stop) if share else range(0)


@torch.inference_mode()
def sample(
    model: Transformer,
    prompts: Tensor,
    sampling: Sampling,
    identity: str,
    on_tokens: Callable[[int], None] = lambda count: None,
    first_row: int = 0,
    cache_format: torch.dtype | None = None,
    batch: int = 256,
) -> list[np.ndarray]:
    """Sample one document per prompt.

    Args:
        model: in the number format and on the device to sample with.
        prompts: int64 [documents, prompt length], begin-of-text first.
        sampling: the config's `sampling` entry.
        identity: names the part; its random numbers derive from it and from a document's row.
        on_tokens: told how many tokens each step sampled.
        first_row: the row of the first document within the part, a multiple of `BLOCK`.
        cache_format: number format of the cache and of attention; the model's own unless given.
        batch: how many documents are sampled at once.

    Returns:
        Per document its int32 tokens: prompt, sampled tokens, end-of-text where it ended within the maximum length.
    """
    longest = sampling.max_length or model.shape.context
    documents: dict[int, np.ndarray] = {}
    cohorts: list[Cohort] = []
    uniforms = Uniforms(identity, first_row, longest)
    number_format = cache_format or next(model.parameters()).dtype
    batch = min(batch, len(prompts))
    memory = CacheMemory(model.shape, batch, longest, number_format, prompts.device)
    begun, steps = 0, 0
    while cohorts or begun < len(prompts):
        room = min(batch - sum(map(len, cohorts)), len(prompts) - begun)
        if room > 0 and (room >= batch * WORTH_DROPPING or not cohorts):
            rows = range(begun, begun + room)
            taken = 0
            for cohort in cohorts:  # the free rows of the memory, behind one another
                cohort.cache.move(taken)
                taken += len(cohort)
            cohorts.append(Cohort(KVCache(memory, taken, room), rows, prompts[begun : begun + room], uniforms.of(rows)))
            begun += room
        logits = model.step(torch.cat([cohort.last for cohort in cohorts]), [cohort.cache for cohort in cohorts])
        chosen = choose(logits, torch.cat([cohort.uniform for cohort in cohorts]), sampling)
        for cohort, tokens in zip(cohorts, torch.split(chosen, [len(cohort) for cohort in cohorts]), strict=True):
            cohort.append(tokens)
        on_tokens(len(chosen))
        steps += 1
        if steps % LOOK_EVERY == 0 or any(cohort.is_full for cohort in cohorts):
            for cohort in cohorts:
                documents.update(cohort.take_ended())
            cohorts = [cohort for cohort in cohorts if len(cohort)]
    return [documents[row] for row in range(len(prompts))]


class Uniforms:
    """One uniform number per document and position, whatever the order in which documents are sampled."""

    def __init__(self, identity: str, first_row: int, longest: int) -> None:
        self.identity = identity
        self.first_row = first_row
        self.longest = longest
        self.blocks: dict[int, Tensor] = {}

    def of(self, rows: range) -> Tensor:
        """float32 [rows, longest] in [0, 1), on the CPU. Asked for in the documents' order."""
        begin, end = rows.start + self.first_row, rows.stop + self.first_row
        numbers = range(begin // BLOCK, (end - 1) // BLOCK + 1)
        self.blocks = {
            number: self.blocks[number] if number in self.blocks else self._draw(number) for number in numbers
        }
        start = numbers[0] * BLOCK
        return torch.cat([self.blocks[number] for number in numbers])[begin - start : end - start]

    def _draw(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(stream(self.identity, f"block {number}"))
        return torch.rand(BLOCK, self.longest, generator=generator)


class Cohort:
    """Documents that began together.

    Attributes:
        cache: their keys and values.
        position: place of the last token that they all have.
    """

    def __init__(self, cache: KVCache, rows: range, prompts: Tensor, uniforms: Tensor) -> None:
        count, longest = uniforms.shape
        device = prompts.device
        self.given = prompts.shape[1]
        self.position = 0
        self.cache = cache
        self._rows = np.arange(rows.start, rows.stop)
        self._tokens = torch.zeros(count, longest, dtype=torch.int32, device=device)
        self._tokens[:, : self.given] = prompts
        self._uniforms = uniforms.to(device)
        self._lengths = torch.zeros(count, dtype=torch.int64, device=device)  # 0: not ended

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def last(self) -> Tensor:
        """The tokens that the next step begins from, int64 [documents]."""
        return self._tokens[:, self.position].long()

    @property
    def uniform(self) -> Tensor:
        """The numbers that the next tokens are drawn with, float32 [documents]."""
        return self._uniforms[:, self.position + 1]

    @property
    def is_full(self) -> bool:
        """Whether the documents have reached the maximum length."""
        return self.position + 1 == self._tokens.shape[1]

    def append(self, tokens: Tensor) -> None:
        """Go on by one position: with the prompt where it is not at its end, else with `tokens`."""
        self.position += 1
        if self.position >= self.given:
            self._tokens[:, self.position] = tokens
            ended = (tokens == END_OF_TEXT_ID) & (self._lengths == 0)
            self._lengths[ended] = self.position + 1

    def take_ended(self) -> dict[int, np.ndarray]:
        """Give out the documents that have ended, by row, if they are enough to be worth a copy of the cache."""
        if self.is_full:
            self._lengths[self._lengths == 0] = self.position + 1
        ended = self._lengths > 0
        count = int(ended.sum())
        if count == 0 or count < WORTH_DROPPING * len(self):
            return {}
        rows, lengths = self._rows[ended.cpu().numpy()], self._lengths[ended].cpu().numpy()
        tokens = self._tokens[ended, : self.position + 1].cpu().numpy()
        kept = (~ended).nonzero()[:, 0]
        self._rows = self._rows[kept.cpu().numpy()]
        self._tokens, self._uniforms, self._lengths = self._tokens[kept], self._uniforms[kept], self._lengths[kept]
        self.cache.keep(kept)
        return {int(row): ids[:length].copy() for row, ids, length in zip(rows, tokens, lengths, strict=True)}


def choose(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """The next token of each row, by inverting the cumulative distribution at one uniform number per row.

    Args:
        logits: [rows, vocabulary].
        uniforms: float32 [rows], in [0, 1).
        sampling: temperature (0 is greedy), top_k, top_p.

    Returns:
        int64 [rows].
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        smallest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    odds = logits.softmax(dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = odds.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= sampling.top_p * ordered.sum(dim=-1, keepdim=True), 0.0)
        odds = torch.zeros_like(odds).scatter(1, order, ordered)
    if odds.shape[1] % SUMMED:
        odds = F.pad(odds, (0, -odds.shape[1] % SUMMED))
    grouped = odds.view(len(odds), -1, SUMMED)
    # First the group of tokens, then the token within it: a cumulative sum over all of the vocabulary is slow.
    group, left = _invert(grouped.sum(dim=-1), uniforms, None)
    within = grouped[torch.arange(len(odds), device=odds.device), group]
    token, _ = _invert(within, None, left)
    return group * SUMMED + token


def _invert(odds: Tensor, uniforms: Tensor | None, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum of each row first exceeds its target, and what is left of the target there.

    The target is `uniforms` times the row's sum, or given.
    """
    cumulative = odds.cumsum(dim=-1)
    total = cumulative[:, -1].contiguous()
    if target is None:
        assert uniforms is not None
        target = uniforms * total
    # Below the total, even for a target that was rounded up: the place found adds to the sum, so it has some odds.
    target = torch.minimum(target, total.nextafter(torch.zeros_like(total)))
    place = torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]
    before = cumulative.gather(1, place[:, None])[:, 0] - odds.gather(1, place[:, None])[:, 0]
    return place, (target - before).clamp(min=0)
