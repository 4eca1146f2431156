"""The engine `torch`: our own sampler, in this process."""

from collections.abc import Iterator

import numpy as np
import torch

from selfloop.devices import cache_precision, choose_precision, memory, prepare_torch
from selfloop.domains.text.checkpoint import load_checkpoint
from selfloop.domains.text.engines import Request
from selfloop.domains.text.model import Transformer
from selfloop.domains.text.sampler import sample as sample_documents
from selfloop.domains.text.sampler import slices

MOST = {"cpu": 256, "cuda": 8192}  # documents sampled at once; more are hardly faster
SHARE_OF_MEMORY = 0.5  # that all caches at their longest may take


def sample(request: Request) -> Iterator[np.ndarray]:
    """Per prompt its document, int32: prompt, sampled tokens, end-of-text where it ended within the maximum length.

    Raises:
        UserError: the checkpoint does not fit its config.
    """
    device = prepare_torch(request.threads, request.gpus)
    model = load_checkpoint(request.checkpoint, choose_precision(request.precision, device), str(device))
    cache_format = cache_precision(request.precision)
    batch = batch_size(model, request.sampling["max_length"] or model.shape.context, cache_format, device)
    request.log.info("%d documents at once, cache in %s", batch, str(cache_format).removeprefix("torch."))
    prompts = torch.from_numpy(request.prompts)
    request.on_tokens(0)
    first, last = request.first_row, request.first_row + len(prompts)
    for rows in slices(request.part_rows or last):
        if not first <= rows.start < last:
            continue
        yield from sample_documents(
            model,
            prompts[rows.start - first : rows.stop - first].to(device),
            dict(request.sampling),
            request.identity,
            request.on_tokens,
            rows.start,
            cache_format,
            batch,
        )


def batch_size(model: Transformer, longest: int, cache_format: torch.dtype, device: torch.device) -> int:
    """How many documents are sampled at once: as many as pay, if the machine's memory holds them at their longest.

    It depends on how much memory there is, not on how much is free, so that a machine always samples alike.
    """
    shape = model.shape
    bytes_each = 2 * shape.layers * shape.hidden_size * longest * cache_format.itemsize
    return max(1, min(MOST[device.type], int(SHARE_OF_MEMORY * memory(device) / bytes_each)))
