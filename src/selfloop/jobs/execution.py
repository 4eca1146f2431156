"""Execute a job: log, record, error messages. What a step computes does not depend on this module.

python -m selfloop.jobs.execution JOB.json   (or: selfloop step JOB.json) runs one step without Snakemake.
"""

import errno
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.jobs.damage import check
from selfloop.jobs.job import Job, StepParams
from selfloop.jobs.logs import logger, open_log
from selfloop.jobs.processes import die_with_parent
from selfloop.jobs.record import Record
from selfloop.jobs.spec import JobSpec
from selfloop.jobs.steps import step


def run_file(path: Path) -> int:
    """Run the step of a job file; returns the exit code.

    Raises:
        UserError: it cannot be read, or is not a job file.
        BaseException: what the step raises, except `UserError`, which is printed as a message.
    """
    try:
        spec = JobSpec.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a job file, which failed steps leave beside their logs: {error}") from None
    os.chdir(spec.folder)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # see `selfloop.jobs.run`
    os.environ["PYTHONSAFEPATH"] = "1"  # see `selfloop.planning.rules`
    in_group = "TORCHELASTIC_RUN_ID" in os.environ
    return execute(spec if in_group else replace(spec, began=time.time()))


def execute(spec: JobSpec) -> int:
    """Run a step in this process, or in as many as it asks for; returns the exit code.

    Raises:
        BaseException: what the step raises, except `UserError`, which is printed as a message.
    """
    # Set by torchrun; `selfloop.training.distributed` would import torch, which not every step needs.
    size, leads = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    if spec.processes > size:
        return _execute_in_group(spec)
    if size > 1:
        die_with_parent(os.getppid())  # torchrun
    with open_log(Path(spec.log)) as file, Record(Path(spec.log), writes=leads) as record:
        log = logger(file, logging.INFO if leads else logging.WARNING)
        log.info("%s begins on %s", spec.rule, record.begin(spec.rule, log).place)
        try:
            if size == 1:  # else the process that started the group has checked them
                check_inputs(spec, log)
            module = importlib.import_module(spec.module)
            ready = time.time()
            module.run(_job(spec, module, log, record, partial(Bar, record.progress, file=file, disable=not leads)))
        except BaseException as error:
            if isinstance(error, UserError):
                return _explain(error, spec, log, record)
            record.failed(error)
            if is_out_of_space(error):
                # Not logged: the log is most likely on the same disk.
                text = f"no space left for the step's outputs ({error}). Only an earlier resume checkpoint was kept."
                print(f"selfloop: {spec.rule}: {text} Free some, and run the same command again.", file=sys.stderr)
                return 1
            log.error("%s: %s", type(error).__name__, error, exc_info=True)
            raise
        work, start_up = time.time() - ready, ready - spec.began
        record.done(work, start_up)
        log.info("%s is done: %.2f s of work, %.2f s of start-up", spec.rule, work, start_up)
    return 0


def check_inputs(spec: JobSpec, log: logging.Logger) -> None:
    """Compare a step's inputs with their checksums.

    Raises:
        UserError: one is damaged, incomplete or changed.
    """
    if step(spec.rule).reads_artifacts:
        began = time.monotonic()
        paths = [path for value in spec.input.values() for path in ([value] if isinstance(value, str) else value)]
        done = check(paths)
        seconds = time.monotonic() - began
        log.info("checked %d input files, %.1f MB, in %.2f s", done.files, done.bytes / 1e6, seconds)


def _explain(error: UserError, spec: JobSpec, log: logging.Logger, record: Record) -> int:
    """Note and show a message for the user; returns the exit code."""
    record.failed(error)
    log.error("%s", error)
    print(f"selfloop: {spec.rule}: {error}\nSee {spec.log}.", file=sys.stderr)
    return 1


class Bar(tqdm):  # type: ignore[misc]
    """A progress bar in the log that also updates the record."""

    def __init__(self, note: Callable[[float, float | None, float, float | None], None], **settings: object) -> None:
        self.note = note
        super().__init__(**{"mininterval": 5.0, "ascii": True, **settings})

    def display(self, *args: object, **settings: object) -> bool:
        """Draw the bar; `tqdm` decides when."""
        known = self.format_dict
        rate = known["rate"] or (known["elapsed"] and (self.n - self.initial) / known["elapsed"])
        self.note(self.n, self.total, self.initial, (self.total - self.n) / rate if self.total and rate else None)
        return bool(super().display(*args, **settings))


def _job(
    spec: JobSpec, module: ModuleType, log: logging.Logger, record: Record, progress: Callable[..., Any]
) -> Job[StepParams]:
    """What the step gets."""
    return Job(
        input=spec.input,
        output=spec.output,
        params=getattr(module, "Params", StepParams).model_validate(spec.params),
        threads=max(1, spec.threads // spec.processes),
        gpus=spec.gpus,
        every_seconds=spec.every_seconds,
        log=log,
        progress=progress,
        did=record.did,
    )


def is_out_of_space(error: BaseException) -> bool:
    """Whether a disk or a quota is full; not all libraries keep the errno."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error)


def _execute_in_group(spec: JobSpec) -> int:
    """Run a step under torchrun, one process per device; signals are forwarded to all of them."""
    with open_log(Path(spec.log)) as file:
        log = logger(file, logging.INFO)
        try:
            check_inputs(spec, log)
        except UserError as error:
            with Record(Path(spec.log)) as record:
                record.begin(spec.rule, log)
                return _explain(error, spec, log, record)
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(spec.processes), "--module", __spec__.name, str(spec.save())]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, spec.threads // spec.processes)), "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, env=environment, preexec_fn=partial(die_with_parent, os.getpid()))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


if __name__ == "__main__":
    try:
        sys.exit(run_file(Path(sys.argv[1])))
    except UserError as error:
        sys.exit(f"selfloop: {error}")
