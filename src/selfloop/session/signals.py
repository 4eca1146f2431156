"""Steps stop with Snakemake, whichever stop signal arrives and wherever (see `selfloop.processes.stopping`).

In a terminal, Ctrl-C reaches every process; `kill` and a service manager may reach one. Snakemake itself waits for
running jobs on SIGTERM and Ctrl-C, and leaves them on SIGHUP.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import psutil

from selfloop.processes import stopping

# The shells between Snakemake and its steps outlive these, which would die with them (`selfloop.processes.lifetime`).
SHELL = "trap : HUP TERM; "
SHELL_OF_MAIN = f"trap '' INT; {SHELL}"  # no traceback of Ctrl-C while a step's Python starts; SIGTERM follows


def pass_on() -> None:
    """Pass each stop signal of this process, Snakemake's main one, on to the processes below it, as SIGTERM."""
    numbers = stopping.signals()
    os.environ[stopping.VARIABLE] = " ".join(str(int(number)) for number in numbers)
    snakemakes = {number: signal.getsignal(number) for number in numbers}
    stopping_steps = False

    def begin(target: Callable[..., object], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal stopping_steps
        own = snakemakes.get(signal.SIGTERM if number == signal.SIGHUP else number)
        if number != signal.SIGINT and callable(own):
            begin(own, number, None)  # waits for a lock that this thread may hold
        if not stopping_steps:
            stopping_steps = True
            begin(_stop_below)
        if number == signal.SIGINT and callable(own):
            own(number, frame)  # raises KeyboardInterrupt

    for number in numbers:
        signal.signal(number, handler)


def _stop_below() -> None:
    """Stop all processes below this one, also those that a thread is about to start."""
    while True:
        with suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.terminate()
        time.sleep(1)
