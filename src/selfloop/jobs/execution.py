"""The running of a step: its log, its messages, its timing. What a step computes does not depend on this module."""

import errno
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.jobs.gpus import place
from selfloop.jobs.job import Job
from selfloop.jobs.processes import die_with_parent, lock_log, open_log


def execute(spec: Mapping[str, Any]) -> int:
    """Run a step in this process, or in as many as it asks for; returns the exit code.

    Raises:
        BaseException: whatever the step raises, but for `UserError`, which is shown as a message.
    """
    # What torchrun tells its processes; `selfloop.training.distributed` would import torch, which not every step needs.
    size, leads = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    if spec["processes"] > size:
        return _execute_in_group(spec)
    if size > 1:
        die_with_parent(os.getppid())  # torchrun
    path = Path(spec["log"])
    with open_log(path) as file:
        log = _logger(file, logging.INFO if leads else logging.WARNING)
        if leads:
            lock_log(file, log)
        job = Job(
            input=spec["input"],
            output=spec["output"],
            params=spec["params"],
            threads=max(1, spec["threads"] // spec["processes"]),
            gpus=spec["gpus"],
            every_seconds=spec["every_seconds"],
            log=log,
            progress=partial(tqdm, file=file, mininterval=5.0, ascii=True, disable=not leads),
        )
        log.info("%s begins", spec["rule"])
        log.info("on %s", place())
        try:
            module = importlib.import_module(spec["step"])
            ready = time.time()
            module.run(job)
        except UserError as error:
            log.error("%s", error)
            print(f"selfloop: {spec['rule']}: {error}\nSee {path}.", file=sys.stderr)
            return 1
        except Exception as error:
            if not is_out_of_space(error):
                log.error("%s: %s", type(error).__name__, error, exc_info=True)
                raise
            # Not into the log, which most likely lies on the same disk.
            text = f"no space left for the step's outputs ({error}). Nothing of it was kept but an earlier saved state."
            print(f"selfloop: {spec['rule']}: {text} Free some, and run the same command again.", file=sys.stderr)
            return 1
        except BaseException as error:
            log.error("%s: %s", type(error).__name__, error, exc_info=True)
            raise
        work, start_up = time.time() - ready, ready - spec["began"]
        log.info("%s is done: %.2f s of work, %.2f s of start-up", spec["rule"], work, start_up)
    return 0


def is_out_of_space(error: BaseException) -> bool:
    """Whether an error says that a disk, or a user's share of it, is full; not all libraries keep the number."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error)


def _execute_in_group(spec: Mapping[str, Any]) -> int:
    """Run a step under torchrun, one process per device; a signal to end goes to all of them."""
    descriptor = os.memfd_create("spec")  # a file that is gone with this process
    os.write(descriptor, json.dumps(dict(spec)).encode())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(spec["processes"]), "--module", "selfloop.jobs.execution", f"/proc/{os.getpid()}/fd/{descriptor}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, spec["threads"] // spec["processes"]))}
    process = subprocess.Popen(command, env=environment, preexec_fn=partial(die_with_parent, os.getpid()))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


def _logger(file: Any, level: int) -> logging.Logger:
    logging.raiseExceptions = False  # on a full disk the step's own error is the message, not the log's
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("selfloop")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return logger


if __name__ == "__main__":
    sys.exit(execute(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
