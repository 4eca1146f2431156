"""Assign this machine's GPUs to steps.

Snakemake counts GPUs but assigns none. A step locks one file per GPU and sees only these GPUs; steps of other studies
on the same machine wait for the same locks. On a cluster, SLURM assigns GPUs. Does not import torch.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

from selfloop.errors import UserError
from selfloop.processes.locks import lock
from selfloop.processes.own_folder import ensure_own, open_own, own_folder

DEVICES = "SELFLOOP_GPUS"  # the devices to share, such as "0,1"; default: all
SHARES = "SELFLOOP_GPU_SHARES"  # steps that share one GPU; the same for all studies on a machine
FOLDER = "SELFLOOP_GPU_LOCKS"
LOCKS = "SELFLOOP_GPU_IDS"  # what each of DEVICES is locked by: its UUID where that is known
VISIBLE = "CUDA_VISIBLE_DEVICES"
ALLOW_CPU = "SELFLOOP_ALLOW_CPU"  # 1: a step that requests a GPU and finds none computes on the CPU
GRANTED = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
NONE = ("", "-1", "NoDevFiles")  # what stands for no GPU in CUDA_VISIBLE_DEVICES, the last in old versions of SLURM

_held: list[int] = []  # a lock lives as long as its descriptor is open


def devices(nodes: Path = Path("/dev")) -> list[str]:
    """The GPUs that steps on this machine may use: SELFLOOP_GPUS, else those visible to CUDA, else all in `nodes`."""
    for variable in (DEVICES, VISIBLE):
        if variable in os.environ:
            return _listed(variable)
    found = [path for path in nodes.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return [str(number) for number in range(len(found))]  # CUDA counts those that it sees from 0


def _listed(variable: str) -> list[str]:
    return [name for name in map(str.strip, os.environ[variable].split(",")) if name not in NONE]


def promised(nodes: Path = Path("/dev")) -> str | None:
    """What says that a step of this process should find a GPU, for a message; None where nothing does.

    Args:
        nodes: the folder of the devices' files.
    """
    if os.environ.get(ALLOW_CPU) == "1":
        return None
    for variable in (VISIBLE, DEVICES):  # the first is what `take` has left
        if variable in os.environ:
            return f"{variable} is {os.environ[variable]}" if _listed(variable) else None
    for variable in GRANTED:
        if os.environ.get(variable):
            return f"{variable} is {os.environ[variable]}"
    return f"{nodes}/nvidia* exist" if devices(nodes) else None


def offer() -> int:
    """Let the steps that this process starts share this machine's GPUs; returns how many steps may have one at a time.

    Raises:
        UserError: there is no folder for their locks, or SELFLOOP_GPU_SHARES is not a number.
    """
    each = shares()
    names = devices()
    if names:
        names, locks = identified(names, _listing())
        os.environ[DEVICES], os.environ[LOCKS] = ",".join(names), ",".join(locks)
        if FOLDER not in os.environ:
            os.environ[FOLDER] = str(own_folder())
    return len(names) * each


def shares() -> int:
    """How many steps share one GPU: SELFLOOP_GPU_SHARES, 1 unless given.

    Raises:
        UserError: it is not an integer from 1 on.
    """
    given = os.environ.get(SHARES) or "1"
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"{SHARES} is '{given}'. Allowed: an integer from 1, the number of steps that share one GPU.")
    return int(given)


def _listing() -> str:
    """What `nvidia-smi -L` prints, or nothing where it does not work."""
    if shutil.which("nvidia-smi") is None:
        return ""
    return subprocess.run(["nvidia-smi", "-L"], check=False, capture_output=True, encoding="utf-8").stdout


def identified(names: Sequence[str], listing: str) -> tuple[list[str], list[str]]:
    """Devices, and what each is locked by, so that no GPU is given away twice, whatever it is called.

    Within a SLURM job, GPUs may be counted from 0 though they are not the machine's first: their numbers say nothing to
    other jobs. A GPU in MIG mode is several devices, which only their UUIDs name.

    Args:
        names: numbers as nvidia-smi counts, or UUIDs, which may be shortened.
        listing: what `nvidia-smi -L` prints.
    """
    known: list[list[str]] = []  # of each GPU its UUID and those of its MIG instances
    for line in listing.splitlines():
        if match := re.search(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", line):
            known += [[]] if match[1].startswith("GPU") or not known else []
            known[-1].append(match[1])
    devices, locks = [], []
    for name in names:
        number = int(name) if name.isdecimal() else None
        uuids = next((one for place, one in enumerate(known) if place == number or one[0].startswith(name)), [])
        if uuids[1:]:
            devices += uuids[1:]
            locks += uuids[1:]
        else:
            devices.append(name)
            job = os.environ.get("SLURM_JOB_ID")
            locks.append(uuids[0] if uuids else f"{name}-of-{job}" if job else name)
    return devices, locks


def take(count: int, poll_seconds: float = 0.2, wait: Callable[[float], None] = time.sleep) -> list[str]:
    """Wait for `count` GPUs, or a share of each, hold them until this process ends, and hide all others from CUDA.

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
    names = devices()
    locks = os.environ.get(LOCKS, "").split(",")
    folder = ensure_own(Path(os.environ[FOLDER]))
    by_name = dict(zip(names, locks if len(locks) == len(names) else names, strict=True))
    taken: list[str] | None = None
    while taken is None:
        taken = _try(folder, by_name, min(count, len(names)), shares())
        if taken is None:
            wait(poll_seconds)
    os.environ[VISIBLE] = ",".join(taken)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts, not the fastest first
    return taken


def _try(folder: Path, names: Mapping[str, str], count: int, shares: int) -> list[str] | None:
    """Lock a share of each of `count` devices, by what its name maps to, or of none of them; idle devices first."""
    # One step at a time: two that each hold one of two GPUs and want both would deadlock.
    with os.fdopen(open_own(folder / "choosing")) as choosing:
        lock(choosing.fileno(), wait=True)
        found: dict[str, int] = {}
        for share, (name, locked) in product(range(shares), names.items()):
            if name in found:
                continue
            descriptor = open_own(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', locked)}.{share}.lock")
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
