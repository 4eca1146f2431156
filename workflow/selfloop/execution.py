"""The running of a step: its log, its messages, its timing. What a step computes does not depend on this module."""

import errno
import importlib
import logging
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.job import Job
from selfloop.lifetime import lock_log
from selfloop.slots import place


def execute(spec: Mapping[str, Any]) -> int:
    """Run a step in this process; returns the exit code.

    Raises:
        BaseException: whatever the step raises, but for `UserError`, which is shown as a message.
    """
    path = Path(spec["log"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        log = _logger(file)
        lock_log(file, log)
        job = Job(
            input=spec["input"],
            output=spec["output"],
            params=spec["params"],
            threads=spec["threads"],
            every_seconds=spec["every_seconds"],
            log=log,
            progress=partial(tqdm, file=file, mininterval=5.0, ascii=True),
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


def _logger(file: Any) -> logging.Logger:
    logging.raiseExceptions = False  # on a full disk the step's own error is the message, not the log's
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("selfloop")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
