"""From the host to a GPU without waiting for it: pinned copies, and batches that are made one step ahead."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

Batch = TypeVar("Batch")


def to_device(array: np.ndarray | Tensor, device: torch.device | str) -> Tensor:
    """An array or a tensor of the host on the device; a copy to a GPU is queued, not waited for.

    Only pinned memory can be copied so. Torch keeps it until the copy is done.
    """
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Ahead(Generic[Batch]):
    """The batches of consecutive steps; for a GPU, a thread makes each while the step before it is computed.

    Args:
        batch: the batch of a step, a pure function.
        steps: how many steps there are.
        device: that the steps are computed on. On a CPU, a thread would take its time from them.
    """

    def __init__(self, batch: Callable[[int], Batch], steps: int, device: torch.device) -> None:
        self._batch, self._steps = batch, steps
        self._pool: ThreadPoolExecutor | None = None
        if device.type == "cuda":
            self._pool = ThreadPoolExecutor(1, initializer=partial(torch.cuda.set_device, device))
        self._next: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> "Ahead[Batch]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, usually the one after that of the last call."""
        if self._pool is None:
            return self._batch(step)
        known, self._next = self._next, None
        batch = known[1].result() if known is not None and known[0] == step else self._batch(step)
        if step + 1 < self._steps:
            self._next = (step + 1, self._pool.submit(self._batch, step + 1))
        return batch
