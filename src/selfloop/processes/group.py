"""This process's place among those of its step (see `selfloop.jobs.launch`)."""

import os

RANK = "SELFLOOP_RANK"
SIZE = "SELFLOOP_PROCESSES"
PROMISED = "SELFLOOP_GPU_PROMISED"  # what says that a step which requests a GPU has one (`selfloop.processes.gpus`)
MEETING = "SELFLOOP_MEETING"  # the file through which the ranks find each other


def rank() -> int:
    """This process's rank; 0 in a step of one process."""
    return int(os.environ.get(RANK, "0"))


def size() -> int:
    """The number of processes of this process's step."""
    return int(os.environ.get(SIZE, "1"))
