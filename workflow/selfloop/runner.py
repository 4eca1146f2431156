"""The running of a step: its log, its messages, its timing. What a step computes does not depend on this module."""

import importlib
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.job import Job

START = time.perf_counter()


def run(step: str, snakemake: Any) -> None:
    """Run the module `step` for a rule's job; `snakemake` is the object that Snakemake gives to scripts.

    A `UserError` ends the process with its message and exit code 1; any other exception keeps its traceback.
    """
    if len(snakemake.log) != 1:
        raise ValueError(f"rule {snakemake.rule} must name one log file")
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        log = _logger(file, snakemake.rule)
        job = Job(
            input=dict(snakemake.input.items()),
            output=dict(snakemake.output.items()),
            params=dict(snakemake.params.items()),
            threads=snakemake.threads,
            every_seconds=snakemake.config.get("checkpointing", {}).get("every_seconds", 60.0),
            log=log,
            progress=_progress(file),
        )
        log.info("%s begins", snakemake.rule)
        try:
            module = importlib.import_module(step)
            imported = time.perf_counter()
            module.run(job)
        except UserError as error:
            log.error("%s", error)
            sys.exit(f"selfloop: {snakemake.rule}: {error}\nSee {path}.")
        except BaseException as error:
            log.error("%s: %s", type(error).__name__, error)
            raise
        log.info(
            "%s is done: %.2f s of work, %.2f s of start-up", snakemake.rule, time.perf_counter() - imported, imported - START
        )


def _logger(file: Any, rule: str) -> logging.Logger:
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("selfloop")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def _progress(file: Any) -> Callable[..., Any]:
    return partial(tqdm, file=file, mininterval=5.0, ascii=True)
