"""A step ends with those who asked for it.

A killed Snakemake cannot end its jobs, and a job that went on alone would write where the next Snakemake's job for the
same outputs writes. So a step's process dies with the shell that Snakemake started it from, and with Snakemake itself.
Where neither can be seen (a cluster's node that lost its controller), the lock of `selfloop.jobs.record` remains.

Only the standard library is imported with this module: vLLM's own environment uses it, too.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress

VARIABLE = "SELFLOOP_SNAKEMAKE"  # process id of the Snakemake that runs steps on this machine
PR_SET_PDEATHSIG = 1


def announce() -> None:
    """Tell the steps of this process's children whose end is theirs."""
    os.environ[VARIABLE] = str(os.getpid())


def end_with_others() -> None:
    """Let this process be killed when the process that started it ends, or the Snakemake that announced itself."""
    die_with_parent(os.getppid())
    if sys.platform.startswith("linux") and VARIABLE in os.environ:
        threading.Thread(target=_watch, args=(int(os.environ[VARIABLE]),), daemon=True).start()


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent, the process `parent`, ends; on Linux alone."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def _watch(pid: int) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        snakemake = psutil.Process(pid)
        # Dead, but not yet buried, is dead; and is_running knows another process with the same id.
        while snakemake.is_running() and snakemake.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
