"""Forward and backward passes as CUDA graphs, each launched at once.

A small model's step is hundreds of kernels, and launching them one by one takes the host longer than a GPU computes
them.
"""

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from selfloop.training.optimizer import FlatWeights

MOST = 128  # graphs; what shapes of batches there are beyond them is computed without

Batch = TypeVar("Batch")


class Recorder(Protocol):
    """Records work on a device."""

    def __call__(self, work: Callable[[], None]) -> Callable[[], object]:
        """Do the work, perhaps more than once, and return what does it again, on the very same tensors."""


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage: memory of a GPU that is freed while something is captured makes the capture invalid."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Capture:
    """Records work as CUDA graphs. Their temporary tensors share memory, since one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.MemPool()

    def __call__(self, work: Callable[[], None]) -> Callable[[], object]:
        """Do the work once, which compiles and loads kernels, and capture it in the memory that this took.

        Raises:
            torch.OutOfMemoryError: the GPU's memory is full.
        """
        torch.cuda.empty_cache()  # while something is captured, torch does not do so where memory is short
        waiting, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        self._stream.wait_stream(waiting)
        # The backward pass in this thread, too: memory and handles of libraries belong to threads.
        with torch.cuda.stream(self._stream), torch.autograd.set_multithreading_enabled(False), _no_collection():
            with torch.cuda.use_mem_pool(self._pool):
                work()
            self._stream.synchronize()
            try:
                # Errors of this thread alone: meanwhile, another one makes the next batch.
                graph.capture_begin(self._pool.id, "thread_local")  # type: ignore[arg-type]
                work()
                graph.capture_end()
            except BaseException:
                with suppress(RuntimeError):  # which would hide the error
                    graph.capture_end()
                raise
        waiting.wait_stream(self._stream)
        return graph.replay


def recorder(device: torch.device) -> Recorder | None:
    """What records work on a device; None on a CPU, where nothing is gained."""
    return Capture(device) if device.type == "cuda" else None


@dataclass
class _Recorded:
    """A graph, and the tensors that it reads a batch from."""

    inputs: list[Tensor]
    replay: Callable[[], object]


class Graphs:
    """Losses and gradients of batches: all batches of a kind, the first included, by one graph.

    So a training that is resumed computes what one does that was not stopped.

    Args:
        weights: of the model; the gradient is written there.
        buffers: what else a forward pass changes.
        record: of the device.
    """

    def __init__(self, weights: FlatWeights, buffers: Iterable[Tensor], record: Recorder) -> None:
        self._weights, self._buffers, self._record = weights, list(buffers), record
        self._loss = torch.zeros((), dtype=torch.float64, device=weights.master.device)
        self._known: dict[Hashable, _Recorded] = {}

    def __len__(self) -> int:
        return len(self._known)

    def backward(self, key: Hashable, loss: Callable[[Batch], Tensor], batch: Batch, add: bool) -> Tensor:
        """Write the gradient of the loss of a batch, or add it to what is there.

        Args:
            key: as of `Task.graph_key`.
            loss: of the batch.
            batch: a tuple of tensors and other values.
            add: whether to add.

        Returns:
            the loss, detached; the next call overwrites it.
        """
        leaves, structure = tree_flatten(batch)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        known = self._known.get((key, add))
        if known is None and len(self) == MOST:
            found = loss(batch)
            self._weights.backward(found, add)
            return found.detach()
        if known is None:
            inputs = [tensor.clone() for tensor in tensors]
            rest = iter(inputs)
            held = tree_unflatten([next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure)
            known = self._known[key, add] = self._recorded(lambda: loss(held), inputs, add)
        for own, tensor in zip(known.inputs, tensors, strict=True):
            own.copy_(tensor)
        known.replay()
        return self._loss

    def _recorded(self, loss: Callable[[], Tensor], inputs: list[Tensor], add: bool) -> _Recorded:
        """The graph of a loss and its gradient; what recording it changes is as it was before."""

        def work() -> None:
            found = loss()
            self._weights.backward(found, add)
            self._loss.copy_(found.detach())

        changed = [*self._buffers, self._weights.gradient] if add else self._buffers
        before = [tensor.clone() for tensor in changed]
        replay = self._record(work)
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        return _Recorded(inputs, replay)
