"""Throughput of this machine: matrix products, and the steps themselves."""

import os
import platform
import time

import torch
from tqdm import tqdm

from selfloop.training.devices import compute_dtype, prepare_torch

SIZE = 2048
SECONDS = 1.0


def usable_threads(threads: int | None) -> int:
    """`threads`, or all CPUs of this process's affinity mask."""
    return threads or len(os.sched_getaffinity(0))


def matmul_flops(threads: int | None = None) -> float:
    """FLOP/s of square matrix products in the compute dtype of a training with precision "auto".

    The best of the batches of products that fit in a second: other load on the machine can only slow them down.
    """
    device = prepare_torch(usable_threads(threads))
    dtype = compute_dtype("auto", device)
    size = SIZE if device.type == "cpu" else 4 * SIZE
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    best, began = 0.0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        for _ in range(4):
            product = left @ right
        product[0, 0].item()  # synchronises
        best = max(best, 4 * 2.0 * size**3 / (time.perf_counter() - start))
    return best


def device_name(threads: int | None = None) -> str:
    """The device measured, for a reader."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{usable_threads(threads)} threads of this machine's CPU ({platform.machine()})"


class TimeUp(Exception):
    """A step has been measured for long enough."""


class ThroughputMeter:
    """Stands in for a step's progress bar (`Job.progress`) and times its updates.

    Everything up to the first update is warm-up. `seconds` after it, `TimeUp` is raised within the step. One CPU thread
    is timed by its CPU time, which other load on the machine does not add to.
    """

    def __init__(self, seconds: float = float("inf"), threads: int | None = None) -> None:
        self.seconds = seconds
        self.clock = time.process_time if threads == 1 and not torch.cuda.is_available() else time.perf_counter
        self.updates: list[tuple[float, float]] = []  # time and units

    def __call__(self, *_: object, **__: object) -> tqdm:
        bar = tqdm(disable=True)
        bar.update = self.update
        return bar

    def update(self, count: float = 1) -> None:
        """Record `count` finished units."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.updates.append((self.clock(), count))
        if len(self.updates) > 2 and self.updates[-1][0] - self.updates[0][0] > self.seconds:
            raise TimeUp

    def units_per_second(self, skip_last: int = 0) -> float:
        """Throughput, without the last `skip_last` updates.

        Raises:
            ValueError: fewer than two updates are left.
        """
        kept = self.updates[: len(self.updates) - skip_last]
        if len(kept) < 2:
            raise ValueError(f"throughput needs two updates, and there are {len(kept)}")
        return sum(count for _, count in kept[1:]) / (kept[-1][0] - kept[0][0])
