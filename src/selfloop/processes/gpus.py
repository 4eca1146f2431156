"""Assign this machine's GPUs to steps.

Snakemake counts GPUs but assigns none. A step locks one file per GPU and sees only these GPUs; steps of other studies
on the same machine wait for the same locks. On a cluster, SLURM assigns GPUs. Does not import torch.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from selfloop.processes.locks import lock
from selfloop.processes.own_folder import ensure_own, open_own, own_folder

DEVICES = "SELFLOOP_GPUS"  # the devices to share, such as "0,1"; default: all
FOLDER = "SELFLOOP_GPU_LOCKS"
VISIBLE = "CUDA_VISIBLE_DEVICES"

_held: list[int] = []  # a lock lives as long as its descriptor is open


def devices() -> list[str]:
    """The GPUs that steps on this machine may use: SELFLOOP_GPUS, else those visible to CUDA, else all."""
    for variable in (DEVICES, VISIBLE):
        if variable in os.environ:
            names = [name.strip() for name in os.environ[variable].split(",")]
            return [name for name in names if name and name != "-1"]
    nodes = [path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return [str(number) for number in range(len(nodes))]  # CUDA counts those that it sees from 0


def offer() -> int:
    """Let the steps that this process starts share this machine's GPUs; returns how many there are.

    Raises:
        UserError: there is no folder for their locks.
    """
    names = devices()
    if names:
        os.environ[DEVICES] = ",".join(names)
        if FOLDER not in os.environ:
            os.environ[FOLDER] = str(own_folder())
    return len(names)


def take(count: int, poll_seconds: float = 0.2, wait: Callable[[float], None] = time.sleep) -> list[str]:
    """Wait for `count` GPUs, hold them until this process ends, and hide all others from CUDA.

    A step that asks for none sees none, also on clusters that do not hide them; likewise with `SELFLOOP_GPUS=`. On a
    machine without GPUs, nothing changes.

    Raises:
        UserError: others may write to the folder of the locks.
    """
    if count == 0 or (DEVICES in os.environ and not devices()):
        os.environ[VISIBLE] = ""
        return []
    if FOLDER not in os.environ or DEVICES not in os.environ:
        return []
    names = os.environ[DEVICES].split(",")
    folder = ensure_own(Path(os.environ[FOLDER]))
    taken: list[str] | None = None
    while taken is None:
        taken = _try(folder, names, min(count, len(names)))
        if taken is None:
            wait(poll_seconds)
    os.environ[VISIBLE] = ",".join(taken)
    return taken


def _try(folder: Path, names: Sequence[str], count: int) -> list[str] | None:
    """Lock `count` of the devices, or none of them."""
    # One step at a time: two that each hold one of two GPUs and want both would deadlock.
    with os.fdopen(open_own(folder / "choosing")) as choosing:
        lock(choosing.fileno(), wait=True)
        found: dict[str, int] = {}
        for name in names:
            descriptor = open_own(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.lock")
            if not lock(descriptor):
                os.close(descriptor)
                continue
            found[name] = descriptor
            if len(found) == count:
                _held.extend(found.values())
                return list(found)
        for descriptor in found.values():
            os.close(descriptor)
        return None
