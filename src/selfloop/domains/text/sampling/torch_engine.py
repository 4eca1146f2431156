"""The engine `torch`: our own sampler, in this process."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np
import torch

from selfloop.domains.text.model.checkpoint import load_checkpoint
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.onednn import pack
from selfloop.domains.text.sampling.sampler import sample as sample_documents
from selfloop.domains.text.sampling.sampler import slices
from selfloop.training.devices import cache_dtype, compute_dtype, prepare_torch, total_memory

MOST = {"cpu": 256, "cuda": 8192}  # documents sampled at once; more are hardly faster
SHARE_OF_MEMORY = 0.5  # that all caches at their longest may take


def sample(request: Request) -> Iterator[np.ndarray]:
    """Per prompt its document, int32: prompt, sampled tokens, end-of-text where it ended within the maximum length.

    Raises:
        UserError: the checkpoint does not fit its config.
    """
    device = prepare_torch(request.threads, request.gpus)
    model = load_checkpoint(request.checkpoint, compute_dtype(request.precision, device), str(device))
    cache_format = cache_dtype(request.precision)
    batch = batch_size(model, request.sampling.max_length or model.shape.context, cache_format, device)
    pack(model, batch)
    request.log.info("%d documents at once, cache in %s", batch, str(cache_format).removeprefix("torch."))
    first, last = request.first_row, request.first_row + len(request.prompts)
    mine = [rows for rows in slices(request.part_rows or last) if first <= rows.start < last]
    counting = Lock()

    def count(tokens: int) -> None:
        with counting:
            request.on_tokens(tokens)

    def documents(rows: range) -> list[np.ndarray]:
        prompts = torch.from_numpy(request.prompts[rows.start - first : rows.stop - first]).to(device)
        return sample_documents(
            model, prompts, request.sampling, request.identity, count, rows.start, cache_format, batch
        )

    request.on_tokens(0)
    # On a CPU a slice per thread: threads that share every small operation would mostly wait for each other.
    side_by_side = min(request.threads, len(mine)) if device.type == "cpu" else 1
    torch.set_num_threads(max(1, request.threads // max(1, side_by_side)))
    with ThreadPoolExecutor(max(1, side_by_side)) as pool:
        waiting: deque[Future[list[np.ndarray]]] = deque()
        for rows in mine:
            waiting.append(pool.submit(documents, rows))
            if len(waiting) > side_by_side:  # no more in memory than are being sampled, and one
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def batch_size(model: Transformer, longest: int, cache_format: torch.dtype, device: torch.device) -> int:
    """How many documents are sampled at once: as many as pay, if the machine's memory holds them at their longest.

    It depends on how much memory there is, not on how much is free, so that a machine always samples alike.
    """
    shape = model.shape
    bytes_each = 2 * shape.layers * shape.hidden_size * longest * cache_format.itemsize
    return max(1, min(MOST[device.type], int(SHARE_OF_MEMORY * total_memory(device) / bytes_each)))
