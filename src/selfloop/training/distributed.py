"""Data-parallel processes of one step, one per GPU (or share of the CPU), as `selfloop.processes.group` starts them.

A process that was started alone is a group of one.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor

from selfloop.checksums import hidden_sibling
from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import join_shards
from selfloop.processes import group as processes

# For a rank that waits for others, as at the end of a part for one with longer documents. NCCL's default, ten minutes,
# would abort it; a rank that ends is noticed by `selfloop.jobs.launch`.
TIMEOUT = timedelta(days=7)


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place among those of the step."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True on rank 0, the only writer."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum `tensor` over the processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            torch.distributed.barrier()


SINGLE_PROCESS = ProcessGroup()


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Initialise torch.distributed as the environment describes it, and shut it down at the end."""
    group = ProcessGroup(processes.rank(), processes.size())
    if group.size == 1:
        yield group
        return
    import torch.distributed  # half a second that a single process does not need

    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{os.environ[processes.MEETING]}",
        rank=group.rank,
        world_size=group.size,
        timeout=TIMEOUT,
        # Binds the communicator to this rank's GPU, which a barrier would otherwise guess.
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield group
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def rank_folder(data_set: Path, group: ProcessGroup) -> Iterator[Path]:
    """A folder for the shards that this rank writes; at the end of the block, rank 0 joins all ranks' into `data_set`.

    An error on any rank leaves no data set.
    """
    folders = [hidden_sibling(data_set, f"{rank}.partial") for rank in range(group.size)]
    folder = folders[group.rank]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        group.barrier()
        if group.is_main:
            with atomic_folder(data_set) as scratch:
                join_shards(folders, scratch)
        group.barrier()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
