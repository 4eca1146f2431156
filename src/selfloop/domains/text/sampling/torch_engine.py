"""The engine `torch`: our own sampler, in this process."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock

import numpy as np
import torch

from selfloop.domains.text.model.checkpoint import load_checkpoint
from selfloop.domains.text.model.network import Transformer, attention_backend
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.onednn import pack
from selfloop.domains.text.sampling.sampler import sample as sample_documents
from selfloop.domains.text.sampling.sampler import slices
from selfloop.processes.stopping import Stopped
from selfloop.training.devices import cache_dtype, compute_dtype, describe, prepare_torch, total_memory
from selfloop.training.slices import FinishedSlices, joined, split

MAX_BATCH = {"cpu": 256, "cuda": 8192}  # documents at once; larger batches are hardly faster
CACHE_FRACTION = 0.5  # of the memory, for KV caches at maximum length


def sample(request: Request) -> Iterator[np.ndarray]:
    """A document per prompt, int32: prompt, sampled tokens, end-of-text if it ended within the maximum length.

    Raises:
        UserError: the checkpoint does not fit its config.
    """
    device = prepare_torch(request.threads, request.gpus, strict=False)
    dtype, kv_dtype = compute_dtype(request.precision, device), cache_dtype(request.precision)
    model = load_checkpoint(request.checkpoint, dtype, str(device))
    own = device.type == "cpu"  # see `kv_cache.cache_memory`
    attention = "OWN_KERNEL" if own else attention_backend(model.shape, device, kv_dtype, is_causal=False)
    request.uses(describe(device, dtype, attention=attention))
    batch = batch_size(model, request.sampling.max_length or model.shape.context, kv_dtype, device)
    pack(model, batch)
    request.log.info("batch of %d documents, KV cache in %s", batch, str(kv_dtype).removeprefix("torch."))
    first, last = request.first_row, request.first_row + len(request.prompts)
    own_slices = [rows for rows in slices(request.part_rows or last) if first <= rows.start < last]
    finished = request.finished or FinishedSlices()
    if kept := finished.among([rows.start for rows in own_slices]):
        request.log.info("resuming: %d of %d slices have been sampled before", kept, len(own_slices))
    lock, ended = Lock(), Event()

    def count(tokens: int) -> None:
        if ended.is_set():
            raise Stopped
        with lock:
            request.on_tokens(tokens)

    def documents(rows: range) -> list[np.ndarray]:
        if (saved := finished.load(rows.start)) is not None:
            return split(saved)
        prompts = torch.from_numpy(request.prompts[rows.start - first : rows.stop - first]).to(device)
        sampled = sample_documents(
            model,
            prompts,
            request.sampling,
            request.streams,
            count,
            rows.start,
            kv_dtype,
            batch,
            request.tokens,
        )
        finished.save(rows.start, joined(sampled))
        return sampled

    request.on_tokens(0)
    # On a CPU a slice per thread: intra-op parallelism of small operations is mostly synchronisation.
    workers = min(request.threads, len(own_slices)) if device.type == "cpu" else 1
    torch.set_num_threads(max(1, request.threads // max(1, workers)))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: deque[Future[list[np.ndarray]]] = deque()
        try:
            for rows in own_slices:
                waiting.append(pool.submit(documents, rows))
                if len(waiting) > workers:  # bounds the finished slices in memory
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            ended.set()  # after an error or a stop signal, no thread finishes its slice


def batch_size(model: Transformer, longest: int, kv_dtype: torch.dtype, device: torch.device) -> int:
    """Documents sampled at once: `MAX_BATCH`, or fewer if their KV caches at maximum length would not fit.

    Depends on the total memory, not the free one, so that a machine always samples alike.
    """
    shape = model.shape
    bytes_per_document = 2 * shape.layers * shape.hidden_size * longest * kv_dtype.itemsize
    return max(1, min(MAX_BATCH[device.type], int(CACHE_FRACTION * total_memory(device) / bytes_per_document)))
