"""Run a rule's job: from Snakemake's object to a `JobSpec`, and on to its execution."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfloop.jobs import forkserver
from selfloop.jobs.marks import unmarked
from selfloop.jobs.spec import JobSpec
from selfloop.jobs.steps import STEPS, WITH_RESERVE, Step, step_module
from selfloop.processes import gpus
from selfloop.processes.lifetime import end_with_others
from selfloop.processes.stopping import caught

if TYPE_CHECKING:
    from snakemake.io import Namedlist
    from snakemake.script import Snakemake


def run(snakemake: "Snakemake") -> None:
    """Run the step behind a rule's job; `snakemake` is the object that Snakemake gives to scripts.

    A `UserError` ends the process with its message and exit code 1; any other exception keeps its traceback. The step
    runs in a fork of the preloaded process (see `selfloop.jobs.forkserver`) if there is one.
    """
    end_with_others()
    # One thread wherever a step runs: sums over several threads round differently. numpy reads it when imported.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    spec = job_spec(snakemake)
    with caught(is_last=True) as stop:
        try:
            code = _run(spec)
        except BaseException as error:
            from selfloop.jobs.execution import explain, say

            if (text := explain(error, stop.arrived)) is None:
                raise
            say(spec, text)
            code = 1
    if code == 0:
        spec.file.unlink(missing_ok=True)
        if _row(spec.rule).deletes_state:
            shutil.rmtree(str(spec.params["state"]), ignore_errors=True)
    sys.exit(code)


def _run(spec: JobSpec) -> int:
    gpus.take(spec.gpus)
    with suppress(OSError):  # the step itself reports a full disk
        spec.save()
    code = forkserver.run_in_fork(spec) if spec.processes == 1 else None
    if code is None:
        from selfloop.jobs.execution import execute  # a third of a second that a script with a fork does not need

        code = execute(spec)
    return code


def job_spec(snakemake: "Snakemake") -> JobSpec:
    """The job of Snakemake's object.

    Raises:
        ValueError: its rule does not name exactly one log file.
    """
    if len(snakemake.log) != 1:
        raise ValueError(f"rule {snakemake.rule} must name one log file")
    # Rules with many jobs have one param, the mapping `settings`.
    params = _plain(snakemake.params)
    params = {**params.pop("settings", {}), **params}
    # Of these, Snakemake knows what it has to; see `planning.sources`.
    sources = params.pop("sources", {})
    gpu = gpus_of(snakemake.resources)
    rule = snakemake.rule.removesuffix(WITH_RESERVE)
    return JobSpec(
        rule=rule,
        module=step_module(rule, params.get("domain")),
        folder=str(Path.cwd()),
        input={**unmarked(_plain(snakemake.input)), **sources},
        output=_plain(snakemake.output),
        params=params,
        threads=snakemake.threads,
        gpus=gpu,
        processes=int(snakemake.resources.get("processes", max(gpu, 1))) if _row(rule).shares_gpus else 1,
        every_seconds=snakemake.config.get("checkpointing", {}).get("every_seconds", 60.0),
        log=str(snakemake.log[0]),
        began=time.time(),
        micro_batch=snakemake.resources.get("micro_batch"),
    )


def gpus_of(resources: "Mapping[str, str | int] | Namedlist") -> int:
    """GPUs that a job requests, by `gpu` or, as `gpu:2` or `gpu:a100:2`, by `gres`."""
    kind, *rest = str(resources.get("gres") or "").split(":")
    by_gres = int(rest[-1]) if rest and rest[-1].isdecimal() else 1
    return int(resources.get("gpu") or 0) or (by_gres if kind == "gpu" else 0)


def _row(rule: str) -> Step:
    return STEPS.get(rule, Step(rule, ""))  # a domain's own analysis has nothing special


def _plain(named: "Namedlist") -> dict[str, Any]:
    """Snakemake's named lists as JSON values by name."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(named.items()), default=str))
    return plain
