"""Start the processes of one step, such as the ranks of a data-parallel training, all on this machine.

Why not torchrun: it dies of SIGHUP under `nohup`, kills ranks 30 s after it has been stopped, which may be in the
middle of a save, shows a traceback for each stop, and imports for 3 s. What it adds, ranks on several machines that
come and go, is not used.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from selfloop.processes.group import MEETING, RANK, SIZE
from selfloop.processes.lifetime import die_with_parent
from selfloop.processes.stopping import forward

PATIENCE = 60.0  # seconds that ranks have to end after one has ended with an error: rank 0 may be saving


def run(command: Sequence[str], count: int, environment: dict[str, str]) -> int:
    """Run a command in `count` processes; returns 0 or the first exit code that is not.

    Stop signals are forwarded to all of them. If one fails, the others are stopped.
    """
    with tempfile.TemporaryDirectory(prefix="selfloop-") as folder:
        own = {**environment, SIZE: str(count), MEETING: str(Path(folder, "meeting"))}
        dies = partial(die_with_parent, os.getpid())
        ranks = [subprocess.Popen(command, env={**own, RANK: str(number)}, preexec_fn=dies) for number in range(count)]

        def send(number: int) -> None:
            for process in ranks:
                process.send_signal(number)

        forward(send)
        while any(process.poll() is None for process in ranks) and not any(process.poll() for process in ranks):
            time.sleep(0.1)
        failed = next((process.returncode for process in ranks if process.poll()), 0)
        failed = failed if failed >= 0 else 128 - failed  # killed by a signal, as shells report it
        deadline = time.monotonic() + PATIENCE
        for process in ranks:
            process.terminate()
        for process in ranks:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:  # blocked in an operation of all ranks
                process.kill()
                process.wait()
        return failed
