"""Steps die with the processes that started them.

A killed Snakemake cannot end its jobs, and an orphaned job would write the same files as the next Snakemake's job. So a
step dies with the shell that Snakemake started it from, and with Snakemake itself. Where it can see neither (a cluster
node that lost its controller), the lock of its record still protects its outputs (see `selfloop.jobs.record`).

Imports only the standard library: vLLM's environment uses this module, too.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress

VARIABLE = "SELFLOOP_SNAKEMAKE"  # process id of the Snakemake on this machine
PR_SET_PDEATHSIG = 1


def announce() -> None:
    """Let the steps that this process starts, however indirectly, die with it."""
    os.environ[VARIABLE] = str(os.getpid())


def end_with_others() -> None:
    """Have this process killed when its parent ends, or the Snakemake that called `announce`."""
    die_with_parent(os.getppid())
    if sys.platform.startswith("linux") and VARIABLE in os.environ:
        threading.Thread(target=_watch, args=(int(os.environ[VARIABLE]),), daemon=True).start()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, the process `parent`, ends; Linux only."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def _watch(pid: int) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        snakemake = psutil.Process(pid)
        # is_running notices that a process id is reused, but takes a zombie for alive.
        while snakemake.is_running() and snakemake.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
