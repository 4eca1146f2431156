"""The running of a step: its log, its messages, its timing. What a step computes does not depend on this module."""

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selfloop.distributed import asked
from selfloop.errors import UserError
from selfloop.job import Job


def execute(spec: Mapping[str, Any]) -> int:
    """Run a step in this process, or in as many as it asks for; returns the exit code.

    Raises:
        BaseException: whatever the step raises, but for `UserError`, which is shown as a message.
    """
    group = asked()
    if spec["processes"] > group.size:
        return _execute_in_group(spec)
    path = Path(spec["log"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        log = _logger(file, logging.INFO if group.leads else logging.WARNING)
        job = Job(
            input=spec["input"],
            output=spec["output"],
            params=spec["params"],
            threads=max(1, spec["threads"] // spec["processes"]),
            gpus=spec["gpus"],
            every_seconds=spec["every_seconds"],
            log=log,
            progress=partial(tqdm, file=file, mininterval=5.0, ascii=True, disable=not group.leads),
        )
        log.info("%s begins", spec["rule"])
        try:
            module = importlib.import_module(spec["step"])
            ready = time.time()
            module.run(job)
        except UserError as error:
            log.error("%s", error)
            print(f"selfloop: {spec['rule']}: {error}\nSee {path}.", file=sys.stderr)
            return 1
        except BaseException as error:
            log.error("%s: %s", type(error).__name__, error, exc_info=True)
            raise
        work, start_up = time.time() - ready, ready - spec["began"]
        log.info("%s is done: %.2f s of work, %.2f s of start-up", spec["rule"], work, start_up)
    return 0


def _execute_in_group(spec: Mapping[str, Any]) -> int:
    """Run a step under torchrun, one process per device; a signal to end goes to all of them."""
    with tempfile.TemporaryDirectory(prefix="selfloop-group-") as folder:
        file = Path(folder) / "spec.json"
        file.write_text(json.dumps(dict(spec)), encoding="utf-8")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [str(spec["processes"]), "--module", "selfloop.execution", str(file)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, spec["threads"] // spec["processes"]))}
        process = subprocess.Popen(command, env=environment)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: process.send_signal(number))
        return process.wait()


def _logger(file: Any, level: int) -> logging.Logger:
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("selfloop")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return logger


if __name__ == "__main__":
    sys.exit(execute(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
