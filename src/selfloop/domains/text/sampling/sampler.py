"""Continuous batching: finished documents are replaced by waiting ones. Each token consumes one uniform number.

Documents that begin together form a cohort: at the same position, with their own KV cache. Attention runs per cohort,
everything else on all cohorts at once. So no step computes padding, and the batch stays full until no document is
waiting.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.kernels.cpu.choice import draw
from selfloop.domains.text.model.kv_cache import KVCache, cache_memory
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.sampling.amx import TiledDecoder
from selfloop.identity import stream

BLOCK = 512  # documents per random stream; determines samples, so it is not configurable
SLICES = 64  # per part, at most; see `slices`
CHECK_EVERY = 8  # steps between checks for finished documents
COMPACT_FROM = 1 / 8  # finished fraction of a cohort from which its cache is compacted
GROUP = 64  # tokens per group of the two-level inversion


def slices(rows: int) -> list[range]:
    """The rows of a part in slices, each sampled in batches of its own: the unit of work that ranks share.

    The rounding of matrix products depends on the rest of the batch, which is always of the same slice, so a part does
    not depend on the number of ranks.
    """
    size = BLOCK * max(1, -(-rows // (SLICES * BLOCK)))
    return [range(begin, min(begin + size, rows)) for begin in range(0, rows, size)]


def share_of(rows: int, rank: int, size: int) -> range:
    """The rows of one of `size` ranks: consecutive whole slices."""
    parts = slices(rows)
    begin, end = (len(parts) * part // size for part in (rank, rank + 1))
    share = parts[begin:end]
    return range(share[0].start, share[-1].stop) if share else range(0)


@torch.inference_mode()
def sample(
    model: Transformer,
    prompts: Tensor,
    sampling: Sampling,
    streams: str,
    on_tokens: Callable[[int], None] = lambda count: None,
    first_row: int = 0,
    kv_dtype: torch.dtype | None = None,
    batch: int = 256,
    tokens: int | None = None,
) -> list[np.ndarray]:
    """Sample one document per prompt.

    Args:
        model: in the dtype and on the device to sample with.
        prompts: int64 [documents, longest prompt], begin-of-text first; shorter ones end in -1.
        sampling: the config's `sampling` entry.
        streams: of the part, see `identity.stream`; documents have numbers of their own.
        on_tokens: called with the number of tokens of each step.
        first_row: index of the first document within the part, a multiple of `BLOCK`.
        kv_dtype: dtype of the KV cache and attention; the model's own unless given.
        batch: documents sampled at once.
        tokens: ids from this one on are never sampled; None for no limit.

    Returns:
        the int32 tokens of each document: prompt, sampled tokens, end-of-text if it ended within the maximum length.
    """
    longest = sampling.max_length or model.shape.context
    documents: dict[int, np.ndarray] = {}
    cohorts: list[Cohort] = []
    uniforms = Uniforms(streams, first_row, longest)
    batch = min(batch, len(prompts))
    memory = cache_memory(model.shape, batch, longest, kv_dtype or next(model.parameters()).dtype, prompts.device)
    plain = is_plain(sampling) and sampling.repetition_penalty == 1
    draw = model.decode.draw if plain and isinstance(model.decode, TiledDecoder) else None
    begun, steps = 0, 0
    while cohorts or begun < len(prompts):
        room = min(batch - sum(map(len, cohorts)), len(prompts) - begun)
        if room > 0 and (room >= batch * COMPACT_FROM or not cohorts):
            rows = range(begun, begun + room)
            taken = 0
            for cohort in cohorts:  # compact the memory: free rows last
                cohort.cache.move(taken)
                taken += len(cohort)
            cohorts.append(Cohort(KVCache(memory, taken, room), rows, prompts[begun : begun + room], uniforms.of(rows)))
            begun += room
        last = torch.cat([cohort.last for cohort in cohorts])
        own_uniforms = torch.cat([cohort.uniform for cohort in cohorts])
        caches = [cohort.cache for cohort in cohorts]
        if draw is not None:
            chosen = model.step(last, caches, partial(draw, uniforms=own_uniforms, temperature=sampling.temperature))
        else:
            logits = model.step(last, caches)
            if sampling.repetition_penalty != 1:
                for cohort, own in zip(cohorts, torch.split(logits, [len(cohort) for cohort in cohorts]), strict=True):
                    penalize(own, cohort.held, sampling.repetition_penalty)
            chosen = choose(logits[:, :tokens], own_uniforms, sampling)
        for cohort, ids in zip(cohorts, torch.split(chosen, [len(cohort) for cohort in cohorts]), strict=True):
            cohort.append(ids)
        on_tokens(len(chosen))
        steps += 1
        if steps % CHECK_EVERY == 0 or any(cohort.is_full for cohort in cohorts):
            for cohort in cohorts:
                documents.update(cohort.take_ended())
            cohorts = [cohort for cohort in cohorts if len(cohort)]
    return [documents[row] for row in range(len(prompts))]


def compile_kernels(model: Transformer, sampling: Sampling, kv_dtype: torch.dtype, tokens: int | None) -> None:
    """Sample a token, so that a CPU's kernels are compiled once, not by each of several threads.

    Those of long documents are compiled when the first of a thread is so long: see `attention.streams_of`.
    """
    prompts = torch.zeros(1, 1, dtype=torch.int64)
    sample(model, prompts, sampling.changed(max_length=2), "", kv_dtype=kv_dtype, tokens=tokens)


class Uniforms:
    """One uniform number per document and position, independent of the sampling order."""

    def __init__(self, streams: str, first_row: int, longest: int) -> None:
        self.streams = streams
        self.first_row = first_row
        self.longest = longest
        self.blocks: dict[int, Tensor] = {}

    def of(self, rows: range) -> Tensor:
        """float32 [rows, longest] in [0, 1), on the CPU. Called with ascending rows."""
        begin, end = rows.start + self.first_row, rows.stop + self.first_row
        numbers = range(begin // BLOCK, (end - 1) // BLOCK + 1)
        self.blocks = {
            number: self.blocks[number] if number in self.blocks else self._draw(number) for number in numbers
        }
        start = numbers[0] * BLOCK
        return torch.cat([self.blocks[number] for number in numbers])[begin - start : end - start]

    def _draw(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(stream(self.streams, f"block {number}"))
        return torch.rand(self.longest, BLOCK, generator=generator).T  # those of a position, whatever the longest is


class Cohort:
    """Documents that began together.

    Attributes:
        cache: their KV cache.
        position: of their last token.
    """

    def __init__(self, cache: KVCache, rows: range, prompts: Tensor, uniforms: Tensor) -> None:
        count, longest = uniforms.shape
        device = prompts.device
        lengths = (prompts >= 0).sum(dim=1)
        self.given = lengths  # tokens of each prompt
        self.shortest, self.longest = int(lengths.min()), prompts.shape[1]
        self.position = 0
        self.cache = cache
        self._rows = np.arange(rows.start, rows.stop)
        self._tokens = torch.zeros(count, longest, dtype=torch.int32, device=device)
        self._tokens[:, : self.longest] = prompts
        self._uniforms = uniforms.to(device)
        self._lengths = torch.zeros(count, dtype=torch.int64, device=device)  # 0: not ended

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def last(self) -> Tensor:
        """Inputs of the next step, int64 [documents]."""
        return self._tokens[:, self.position].long()

    @property
    def held(self) -> Tensor:
        """All tokens so far, int64 [documents, position + 1]."""
        return self._tokens[:, : self.position + 1].long()

    @property
    def uniform(self) -> Tensor:
        """Uniform numbers of the next tokens, float32 [documents]."""
        return self._uniforms[:, self.position + 1]

    @property
    def is_full(self) -> bool:
        """Whether the maximum length is reached."""
        return self.position + 1 == self._tokens.shape[1]

    def append(self, tokens: Tensor) -> None:
        """Advance by one position: with the prompt until its end, then with `tokens`."""
        self.position += 1
        if self.position >= self.shortest:
            ended = (tokens == END_OF_TEXT_ID) & (self._lengths == 0)
            if self.position < self.longest:  # within some of the prompts
                within = self.position < self.given
                tokens = torch.where(within, self._tokens[:, self.position], tokens)
                ended &= ~within
            self._tokens[:, self.position] = tokens
            self._lengths[ended] = self.position + 1

    def take_ended(self) -> dict[int, np.ndarray]:
        """Remove and return the finished documents by row, if they are enough to compact the cache."""
        if self.is_full:
            self._lengths[self._lengths == 0] = self.position + 1
        ended = self._lengths > 0
        count = int(ended.sum())
        if count == 0 or count < COMPACT_FROM * len(self):
            return {}
        rows, lengths = self._rows[ended.cpu().numpy()], self._lengths[ended].cpu().numpy()
        tokens = self._tokens[ended, : self.position + 1].cpu().numpy()
        kept = (~ended).nonzero()[:, 0]
        self._rows = self._rows[kept.cpu().numpy()]
        self._tokens, self._uniforms, self._lengths = self._tokens[kept], self._uniforms[kept], self._lengths[kept]
        self.given = self.given[kept]
        self.cache.keep(kept)
        return {int(row): ids[:length].copy() for row, ids, length in zip(rows, tokens, lengths, strict=True)}


def choose(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Sample the next token of each row by inverse transform at one uniform number per row.

    Args:
        logits: [rows, vocabulary].
        uniforms: float32 [rows], in [0, 1).
        sampling: temperature (0 is greedy), and what restricts the tokens, in this order, as in `transformers`: top_k,
            top_p, min_p, typical_p.

    Returns:
        int64 [rows].
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    if logits.device.type == "cpu" and is_plain(sampling):
        return draw(logits, uniforms, sampling.temperature)
    return choose_with_torch(logits, uniforms, sampling)


def is_plain(sampling: Sampling) -> bool:
    """Whether tokens are drawn from all of the vocabulary, at a temperature above 0."""
    cuts = (sampling.top_k, sampling.top_p, sampling.min_p, sampling.typical_p)
    return sampling.temperature > 0 and all(cut is None for cut in cuts)


def choose_with_torch(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """`choose` at temperatures above 0, on any device."""
    logits = logits.float()
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        smallest = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= sampling.top_p * ordered.sum(dim=-1, keepdim=True), 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ordered)
    if sampling.min_p is not None:
        least = sampling.min_p * probabilities.amax(dim=-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if sampling.typical_p is not None and sampling.typical_p < 1:
        probabilities = typical(probabilities, sampling.typical_p)
    if probabilities.shape[1] % GROUP:
        probabilities = F.pad(probabilities, (0, -probabilities.shape[1] % GROUP))
    grouped = probabilities.reshape(len(probabilities), -1, GROUP)
    # First the group of tokens, then the token within it: a cumulative sum over the vocabulary is slow.
    group, left = _invert(grouped.sum(dim=-1), uniforms, None)
    within = grouped[torch.arange(len(probabilities), device=probabilities.device), group]
    token, _ = _invert(within, None, left)
    return group * GROUP + token


def typical(probabilities: Tensor, mass: float) -> Tensor:
    """Locally typical sampling (Meister et al. 2023): 0 for all but the tokens nearest to the mean surprise.

    Args:
        probabilities: float32 [rows, vocabulary], up to a factor per row.
        mass: that the tokens hold which stay; the last one crosses it.
    """
    normal = probabilities / probabilities.sum(dim=-1, keepdim=True)
    surprise = -normal.log()
    entropy = (normal * surprise).nansum(dim=-1, keepdim=True)
    distance, order = (surprise - entropy).abs().sort(dim=-1, stable=True)
    cumulative = normal.gather(1, order).cumsum(dim=-1)
    last = (cumulative < mass).sum(dim=-1, keepdim=True).clamp(max=probabilities.shape[1] - 1)
    return probabilities.masked_fill((surprise - entropy).abs() > distance.gather(1, last), 0.0)


def penalize(logits: Tensor, held: Tensor, penalty: float) -> None:
    """Make tokens that a row holds less likely (Keskar et al. 2019), in place.

    Args:
        logits: [rows, vocabulary].
        held: int64 [rows, tokens].
        penalty: positive logits are divided by it, others multiplied.
    """
    own = logits.gather(1, held)
    logits.scatter_(1, held, torch.where(own < 0, own * penalty, own / penalty))


def _invert(probabilities: Tensor, uniforms: Tensor | None, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Index at which the cumulative sum of each row first exceeds its target, and the remainder of the target there.

    The target is given, or `uniforms` times the row's sum.
    """
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1].contiguous()
    if target is None:
        assert uniforms is not None
        target = uniforms * total
    # Strictly below the total, even if rounded up, so that the index has a positive probability.
    target = torch.minimum(target, total.nextafter(torch.zeros_like(total)))
    index = torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]
    before = cumulative.gather(1, index[:, None])[:, 0] - probabilities.gather(1, index[:, None])[:, 0]
    return index, (target - before).clamp(min=0)
