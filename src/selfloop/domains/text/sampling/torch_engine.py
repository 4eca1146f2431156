"""The engine `torch`: our own sampler, in this process."""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock, local

import numpy as np
import torch

from selfloop.domains.text.model.checkpoint import load_checkpoint
from selfloop.domains.text.model.network import attention_backend
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.lanes import CACHE_BYTES, in_lanes, rows_of_first_lane
from selfloop.domains.text.sampling.lanes import sample as sample_in_lanes
from selfloop.domains.text.sampling.packing import pack
from selfloop.domains.text.sampling.sampler import compile_kernels, slices
from selfloop.domains.text.sampling.sampler import sample as sample_documents
from selfloop.processes.gpus import shares
from selfloop.processes.stopping import Stopped
from selfloop.training.devices import cache_dtype, compute_dtype, describe, prepare_torch, total_memory
from selfloop.training.slices import FinishedSlices, joined, split

SMALLEST_PIECE = 32  # documents; smaller batches are slower
IMBALANCE = 1.1  # makespan over that of perfectly balanced threads, at most
MAX_BATCH = 256  # documents at once on a CPU; larger batches are hardly faster
CACHE_FRACTION = 0.5  # of a CPU's memory, for KV caches at maximum length
# Slices side by side on a GPU: while one has few documents left, or its host decides, the others keep the GPU busy.
MOST_ON_A_GPU = 8
ROWS_ON_A_GPU = 4096  # of all of them, where they are small
GPU_MEMORY = 0.75  # fraction for their caches

_of_thread = local()


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
    longest = request.sampling.max_length or model.shape.context
    fixed = in_lanes(device)
    batch = (rows_of_first_lane if fixed else batch_size)(model.shape, longest, kv_dtype)
    products = pack(model, batch, request.tokens)
    kv_name = str(kv_dtype).removeprefix("torch.")
    request.log.info("batch of %d documents, KV cache in %s, matrix products by %s", batch, kv_name, products)
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

    def sampled(rows: range) -> list[np.ndarray]:
        with on_stream(device):
            prompts = torch.from_numpy(request.prompts[rows.start - first : rows.stop - first]).to(device)
            return (sample_in_lanes if fixed else sample_documents)(
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

    def of_slice(rows: range) -> list[np.ndarray]:
        if (saved := finished.load(rows.start)) is not None:
            return split(saved)
        documents = list(itertools.chain.from_iterable(piece_pool.map(sampled, in_pieces(rows, size))))
        finished.save(rows.start, joined(documents))
        return documents

    if own:
        compile_kernels(model, request.sampling, kv_dtype, request.tokens)
    request.on_tokens(0)
    # On a CPU each thread samples alone: intra-op parallelism of small operations is mostly synchronisation.
    sizes = [len(rows) for rows in own_slices]
    if fixed and own_slices:
        at_once, size = slices_at_once(device, sizes[0]), sizes[0]
    else:
        at_once, size = request.threads, piece_size(sizes, request.threads)
    workers = max(1, min(at_once, sum(len(in_pieces(rows, size)) for rows in own_slices)))
    torch.set_num_threads(max(1, request.threads // workers))
    if device.type == "cuda":
        torch.cuda.synchronize()  # the threads' streams need the model
    with any_order(fixed), ThreadPoolExecutor(workers) as piece_pool, ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[list[np.ndarray]]] = deque()
        try:
            for rows in own_slices:
                waiting.append(pool.submit(of_slice, rows))
                if len(waiting) > workers:  # bounds the finished slices in memory
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            ended.set()  # after an error or a stop signal, no thread finishes its slice


def piece_size(slices: Sequence[int], threads: int) -> int:
    """Documents at most of the pieces that slices of these sizes are divided into, to balance a CPU's threads.

    The largest size with at most `IMBALANCE`, but not below `SMALLEST_PIECE`.
    """
    largest = max(slices, default=1)
    for count in range(1, largest // SMALLEST_PIECE + 1):
        size = -(-largest // count)
        ends = [0] * threads
        for rows in slices:
            for piece in in_pieces(range(rows), size):
                heapq.heapreplace(ends, ends[0] + len(piece))
        if max(ends) * threads <= IMBALANCE * sum(slices):
            return size
    return min(largest, SMALLEST_PIECE)


def in_pieces(rows: range, size: int) -> list[range]:
    """The fewest pieces of at most this size, as equal as can be."""
    count = -(-len(rows) // size)
    bounds = [rows.start + len(rows) * piece // count for piece in range(count + 1)]
    return [range(*piece) for piece in itertools.pairwise(bounds)]


def slices_at_once(device: torch.device, rows: int) -> int:
    """Slices of a number of rows that a GPU samples side by side; how many changes no document."""
    fitting = int(GPU_MEMORY * total_memory(device) / shares() / CACHE_BYTES)
    return max(1, min(MOST_ON_A_GPU, fitting, max(2, ROWS_ON_A_GPU // rows)))


@contextmanager
def on_stream(device: torch.device) -> Iterator[None]:
    """Within, what this thread does on a GPU is on a stream of its own; on a CPU, nothing changes."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_device(device)
    if not hasattr(_of_thread, "stream"):  # one for all slices of a thread: freed memory stays with its stream
        _of_thread.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(_of_thread.stream):
        yield


@contextmanager
def any_order(allowed: bool) -> Iterator[None]:
    """Within, if allowed, torch may write to places of an index in any order: those of `lanes` are all different.

    Deterministic algorithms would sort them first.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if allowed:
            torch._C._set_deterministic_algorithms(False)
        yield
    finally:
        torch._C._set_deterministic_algorithms(before[0], warn_only=before[1])


def batch_size(shape: Shape, longest: int, kv_dtype: torch.dtype) -> int:
    """Documents sampled at once on a CPU: `MAX_BATCH`, or fewer if their KV caches at maximum length would not fit.

    Depends on the total memory, not the free one, so that a machine always samples alike.
    """
    memory = total_memory(torch.device("cpu"))
    bytes_per_document = 2 * shape.layers * shape.hidden_size * longest * kv_dtype.itemsize
    return max(1, min(MAX_BATCH, int(CACHE_FRACTION * memory / bytes_per_document)))
