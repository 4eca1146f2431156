"""From Snakemake's object to a job, and its execution."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfloop.jobs import forkserver, gpus
from selfloop.jobs.execution import execute
from selfloop.jobs.processes import end_with_others
from selfloop.jobs.spec import JobSpec
from selfloop.jobs.steps import STEPS, Step, step_module


def run(snakemake: Any) -> None:
    """Run the step behind a rule's job; `snakemake` is the object that Snakemake gives to scripts.

    A `UserError` ends the process with its message and exit code 1; any other exception keeps its traceback. Where a
    preloaded process waits (see `selfloop.jobs.forkserver`), the step runs in a fork of it.
    """
    end_with_others()
    # The same number wherever a step runs: sums over several threads round differently. numpy reads it when imported.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    spec = job_spec(snakemake)
    gpus.take(spec.gpus)
    with suppress(OSError):  # a full disk is the step's own error
        spec.save()
    code = forkserver.run_in_fork(spec) if spec.processes == 1 else None
    code = execute(spec) if code is None else code
    if code == 0:
        spec.file.unlink(missing_ok=True)
        if _row(spec.rule).deletes_state:
            shutil.rmtree(spec.params["state"], ignore_errors=True)
    sys.exit(code)


def job_spec(snakemake: Any) -> JobSpec:
    """The job that Snakemake's object stands for.

    Raises:
        ValueError: its rule does not name one log file.
    """
    if len(snakemake.log) != 1:
        raise ValueError(f"rule {snakemake.rule} must name one log file")
    # Rules with many jobs give their params in one mapping, `settings`.
    params = _plain(dict(snakemake.params.items()))
    params = {**params.pop("settings", {}), **params}
    gpu = int(snakemake.resources.get("gpu", 0))
    return JobSpec(
        rule=snakemake.rule,
        module=step_module(snakemake.rule, params.get("domain")),
        folder=str(Path.cwd()),
        input=_plain(dict(snakemake.input.items())),
        output=_plain(dict(snakemake.output.items())),
        params=params,
        threads=snakemake.threads,
        gpus=gpu,
        processes=int(snakemake.resources.get("processes", max(gpu, 1))) if _row(snakemake.rule).shares_gpus else 1,
        every_seconds=snakemake.config.get("checkpointing", {}).get("every_seconds", 60.0),
        log=str(snakemake.log[0]),
        began=time.time(),
    )


def _row(rule: str) -> Step:
    return STEPS.get(rule, Step(rule, ""))  # a domain's own analysis has nothing special


def _plain(value: Any) -> Any:
    """Snakemake's named lists and the like as JSON values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, int | float | bool) or value is None else str(value)
