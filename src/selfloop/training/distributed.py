"""Several processes that train one model, each on its own GPU (or share of the CPU), under torchrun.

torchrun starts the processes and tells each its rank; a process that was started alone is a group of one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """The processes that train one model; rank 0 writes what is written."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the outputs, the state and the log."""
        return self.rank == 0

    def add(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over the processes."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            torch.distributed.barrier()


ALONE = Group()


def asked() -> Group:
    """The group that torchrun's environment describes, without joining it."""
    return Group(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """Join the group that this process was started in, and leave it at the end."""
    group = asked()
    if group.size == 1:
        yield group
        return
    import torch.distributed  # half a second that a process alone does not need

    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield group
    finally:
        torch.distributed.destroy_process_group()
