"""Execute a job: log, record, error messages. What a step computes does not depend on this module.

python -m selfloop.jobs.execution JOB.json   (or: selfloop step JOB.json) runs one step without Snakemake.
"""

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.jobs import launch
from selfloop.jobs.damage import check
from selfloop.jobs.job import Job, StepParams
from selfloop.jobs.logs import logger, open_log
from selfloop.jobs.marks import marked, unmarked
from selfloop.jobs.record import Record
from selfloop.jobs.spec import JobSpec
from selfloop.jobs.system_errors import advice
from selfloop.processes import gpus, group
from selfloop.processes.stopping import Stopped, caught


def run_file(path: Path) -> int:
    """Run the step of a job file; returns the exit code.

    Raises:
        UserError: it cannot be read, or is not a job file.
        BaseException: what the step raises, unless it is printed as a message (see `explain`).
    """
    try:
        spec = JobSpec.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a job file, which failed steps leave beside their logs: {error}") from None
    os.chdir(spec.folder)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # see `selfloop.jobs.run`
    os.environ["PYTHONSAFEPATH"] = "1"  # see `selfloop.planning.rules`
    return execute(spec if group.RANK in os.environ else replace(spec, began=time.time()))


def execute(spec: JobSpec) -> int:
    """Run a step in this process, or in as many as it asks for; returns the exit code.

    Raises:
        BaseException: what the step raises, unless it is printed as a message (see `explain`).
    """
    with caught(is_last=True) as stop:
        try:
            if spec.processes > group.size():
                return _execute_in_group(spec)
            _execute(spec)
        except BaseException as error:
            text = explain(error, stop.arrived)
            if text is None:
                raise
            if group.rank() == 0 or not stop.arrived:
                say(spec, f"{text}\nSee {spec.log}." if isinstance(error, UserError) else text)
            return 1
    return 0


def _execute(spec: JobSpec) -> None:
    leads = group.rank() == 0
    with open_log(Path(spec.log)) as file, Record(Path(spec.log), writes=leads) as record:
        log = logger(file, logging.INFO if leads else logging.WARNING)
        log.info("%s begins on %s", spec.rule, record.begin(spec.rule, log).place)
        try:
            if group.size() == 1:  # else the process that started the group has checked them
                prepare(spec, log)
            module = importlib.import_module(spec.module)
            ready = time.time()
            os.environ[group.PROMISED] = gpus.promised() or ""
            bar = partial(Bar, record.progress, file=file, disable=not leads)
            with marked(spec.output):
                module.run(_job(spec, module, log, record, bar))
        except BaseException as error:
            _note(error, log, record)
            raise
        work, start_up = time.time() - ready, ready - spec.began
        record.done(work, start_up)
        log.info("%s is done: %.2f s of work, %.2f s of start-up", spec.rule, work, start_up)


def explain(error: BaseException, stopped: bool) -> str | None:
    """The message for the user instead of a traceback, or None.

    Args:
        stopped: whether a stop signal has arrived; other errors after it are taken for its consequences.
    """
    if isinstance(error, UserError | Stopped):
        return str(error)
    if (text := advice(error)) is not None:
        return text
    if stopped or isinstance(error, KeyboardInterrupt):  # of a library with a handler of its own
        return str(Stopped())
    return None


def say(spec: JobSpec, text: str) -> None:
    """Print a message about a step."""
    with suppress(OSError):  # the terminal may be gone
        print(f"selfloop: {spec.rule}: {text}", file=sys.stderr, flush=True)


def prepare(spec: JobSpec, log: logging.Logger) -> None:
    """What is done once before the step begins, in however many processes; see `check_inputs`."""
    check_inputs(spec, log)
    state = spec.params.get("state")
    for place in (Path(str(state)), *Path(str(state)).parents) if state else ():
        if place.is_symlink() and not place.exists():
            raise UserError(
                f"{place} is a link to {place.readlink()}, which is not there; make it, or delete the link."
            )
        if place.exists() and not place.is_dir():
            log.warning("%s is not a folder and was deleted; starting from scratch", place)
            place.unlink()


def check_inputs(spec: JobSpec, log: logging.Logger) -> None:
    """Compare a step's inputs with their checksums.

    Raises:
        UserError: one is damaged, incomplete or changed.
    """
    began = time.monotonic()
    done = check(path for value in spec.input.values() for path in ([value] if isinstance(value, str) else value))
    seconds = time.monotonic() - began
    log.info("checked %d input files, %.1f MB, in %.2f s", done.files, done.bytes / 1e6, seconds)


def _note(error: BaseException, log: logging.Logger, record: Record) -> None:
    """Note in its log and record what ended a step."""
    record.failed(error)
    known = isinstance(error, UserError | Stopped | KeyboardInterrupt)
    log.error("%s", error if known else f"{type(error).__name__}: {error}", exc_info=not known)


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
        output=unmarked(spec.output),
        params=getattr(module, "Params", StepParams).model_validate(spec.params),
        threads=max(1, spec.threads // spec.processes),
        gpus=spec.gpus,
        micro_batch=spec.micro_batch,
        every_seconds=spec.every_seconds,
        log=log,
        progress=progress,
        did=record.did,
        uses=record.device,
    )


def _execute_in_group(spec: JobSpec) -> int:
    """Run a step in one process per device."""
    with open_log(Path(spec.log)) as file:
        log = logger(file, logging.INFO)
        try:
            prepare(spec, log)
        except BaseException as error:
            with Record(Path(spec.log)) as record:
                record.begin(spec.rule, log)
                _note(error, log, record)
            raise
    command = [sys.executable, "-P", "-m", __spec__.name, str(spec.save())]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, spec.threads // spec.processes))}
    return launch.run(command, spec.processes, environment)


if __name__ == "__main__":
    try:
        sys.exit(run_file(Path(sys.argv[1])))
    except UserError as error:
        sys.exit(f"selfloop: {error}")
