"""How fast this machine multiplies matrices, and a clock for the progress of a step."""

import os
import platform
import time
from typing import Any

import torch
from tqdm import tqdm

from selfloop.training.devices import choose_precision, prepare_torch

SIZE = 2048
SECONDS = 1.0


def usable_threads(threads: int | None) -> int:
    """The CPU threads to measure with: those asked for, or all that this process may use."""
    return threads or len(os.sched_getaffinity(0))


def matrix_products(threads: int | None = None) -> float:
    """Operations per second of matrix products, in the number format that a training would choose.

    The best of several batches of products within a second: other work on the machine only slows them down.
    """
    device = prepare_torch(usable_threads(threads))
    dtype = choose_precision("auto", device)
    size = SIZE if device.type == "cpu" else 4 * SIZE
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    best, began = 0.0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        for _ in range(4):
            product = left @ right
        product[0, 0].item()  # waits for the device
        best = max(best, 4 * 2.0 * size**3 / (time.perf_counter() - start))
    return best


def device_name(threads: int | None = None) -> str:
    """What was measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{usable_threads(threads)} threads of this machine's CPU ({platform.machine()})"


class Enough(Exception):
    """A step has been timed for long enough."""


class Clock:
    """Times what a step reports to its progress bar (`Job.progress`), which shows nothing.

    The first report and what led to it are left out, as warm-up. After so many seconds of the others, `Enough` is
    raised within the step.
    """

    def __init__(self, seconds: float = float("inf")) -> None:
        self.seconds = seconds
        self.reports: list[tuple[float, float]] = []  # time, and how much was done

    def __call__(self, *_: Any, **__: Any) -> Any:
        bar = tqdm(disable=True)
        bar.update = self.note
        return bar

    def note(self, count: float = 1) -> None:
        """So much more is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.reports.append((time.perf_counter(), count))
        if len(self.reports) > 2 and self.reports[-1][0] - self.reports[0][0] > self.seconds:
            raise Enough

    def rate(self, leave: int = 0) -> float:
        """Done per second, less the last `leave` reports.

        Raises:
            ValueError: there are fewer than two reports to time.
        """
        kept = self.reports[: len(self.reports) - leave]
        if len(kept) < 2:
            raise ValueError(f"{len(kept)} reports cannot be timed")
        return sum(count for _, count in kept[1:]) / (kept[-1][0] - kept[0][0])
