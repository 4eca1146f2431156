"""The engine `torch` for models of `transformers`, and for beams: `generate`, with our own random numbers.

`generate` runs greedily on scores that a processor has set: one token per row, chosen as our own sampler chooses, by
the row's own uniform number. So a document depends neither on its batch nor on the library's random numbers, and a
model that both can sample has the same documents.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.tokenizer import marks_of
from selfloop.domains.text.model.pretrained import read_network
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.sampler import Uniforms, choose, penalize, slices
from selfloop.training.devices import compute_dtype, describe, prepare_torch
from selfloop.training.slices import FinishedSlices, joined, split

BATCH = {"cpu": 64, "cuda": 256}  # documents at once; determines samples by rounding alone


def sample(request: Request) -> Iterator[np.ndarray]:
    """A document per prompt, int32: prompt, sampled tokens, end-of-text if it ended within the maximum length.

    Raises:
        UserError: the checkpoint cannot be loaded.
    """
    import transformers

    config: Callable[..., object] = transformers.GenerationConfig
    device = prepare_torch(request.threads, request.gpus, strict=False)
    dtype = compute_dtype(request.precision, device)
    network, context = read_network(request.checkpoint, dtype)
    network = network.to(device).eval()
    network.generation_config = config()  # no defaults of the checkpoint's own
    request.uses(describe(device, dtype, attention=str(network.config._attn_implementation)))
    marks, longest = marks_of(request.checkpoint), request.sampling.max_length or context
    options = config(
        do_sample=False,
        num_beams=request.sampling.beams,
        max_length=longest,
        bos_token_id=marks.begin,
        eos_token_id=marks.end,
        pad_token_id=marks.end,
    )
    first, last = request.first_row, request.first_row + len(request.prompts)
    own_slices = [rows for rows in slices(request.part_rows or last) if first <= rows.start < last]
    finished = request.finished or FinishedSlices()
    if kept := finished.among([rows.start for rows in own_slices]):
        request.log.info("resuming: %d of %d slices have been sampled before", kept, len(own_slices))
    request.on_tokens(0)
    for rows in own_slices:
        if (saved := finished.load(rows.start)) is not None:
            yield from split(saved)
            continue
        prompts = request.prompts[rows.start - first : rows.stop - first]
        uniforms = Uniforms(request.streams, rows.start, longest).of(range(len(prompts)))
        sampled: list[np.ndarray] = [prompts[0]] * len(prompts)
        for batch in _batches(prompts, BATCH[device.type]):
            given = int((prompts[batch[0]] >= 0).sum())
            ids = torch.from_numpy(prompts[batch, :given]).to(device)
            if given < longest:
                chooser = Chooser(request.sampling, uniforms[torch.from_numpy(batch)].to(device), request)
                with torch.inference_mode():
                    ids = network.generate(
                        ids,
                        attention_mask=torch.ones_like(ids),
                        generation_config=options,
                        logits_processor=[chooser],
                    )
            for row, document in zip(batch.tolist(), ids.cpu().numpy().astype(np.int32), strict=True):
                sampled[row] = _ended(document[:longest], given, marks.end)
        finished.save(rows.start, joined(sampled))
        yield from sampled


class Chooser:
    """Sets the scores of all tokens but the chosen one of each row to -inf; with beams, only what may be chosen.

    Args:
        sampling: the config's `sampling` entry.
        uniforms: float32 [rows, longest], one number per row and position.
        request: whose tokens may be chosen, and which is told of sampled ones.
    """

    def __init__(self, sampling: Sampling, uniforms: Tensor, request: Request) -> None:
        self.sampling, self.uniforms, self.request = sampling, uniforms, request

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """ids: int64 [rows, tokens so far]; scores: [rows, vocabulary], logits or, of beams, their logarithms."""
        scores = scores.float()
        if self.sampling.repetition_penalty != 1:
            scores = scores.clone()
            penalize(scores, ids, self.sampling.repetition_penalty)
        if self.request.tokens is not None:
            scores = scores.masked_fill(
                torch.arange(scores.shape[1], device=scores.device) >= self.request.tokens, float("-inf")
            )
        self.request.on_tokens(len(self.uniforms))
        if self.sampling.beams > 1:
            return scores
        chosen = choose(scores, self.uniforms[:, ids.shape[1]], self.sampling)
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen[:, None], 0.0)


def _batches(prompts: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Indices of prompts of one length, at most `size` at once: no batch has padding."""
    lengths = (prompts >= 0).sum(axis=1)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        yield from (rows[begin : begin + size] for begin in range(0, len(rows), size))


def _ended(document: np.ndarray, given: int, end: int) -> np.ndarray:
    """The document up to its end-of-text after the prompt, if it has one."""
    ends = np.flatnonzero(document[given:] == end)
    return document[: given + ends[0] + 1].copy() if len(ends) else document.copy()
