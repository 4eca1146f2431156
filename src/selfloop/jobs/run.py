"""From a rule's script to the step that it stands for."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from selfloop.jobs import forkserver, gpus
from selfloop.jobs.execution import execute
from selfloop.jobs.processes import end_with_others
from selfloop.jobs.steps import STEPS, step_module

# It follows every training, and begins when Snakemake has recorded that one: only then does no kill have it done again,
# and the state that it has saved, the rule's param `state`, is of no use any more.
AFTER_TRAINING = "evaluate_model"


def run(snakemake: Any) -> None:
    """Run the module behind a rule's job; `snakemake` is the object that Snakemake gives to scripts.

    A `UserError` ends the process with its message and exit code 1; any other exception keeps its traceback. Where a
    preloaded process waits (see `selfloop.jobs.forkserver`), the step runs in a fork of it.
    """
    end_with_others()
    # The same number wherever a step runs: sums over several threads round differently. numpy reads it when imported.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if len(snakemake.log) != 1:
        raise ValueError(f"rule {snakemake.rule} must name one log file")
    count = int(snakemake.resources.get("gpu", 0))
    params = _params(snakemake.params)
    shared = snakemake.rule in STEPS and STEPS[snakemake.rule].shares_gpus
    spec = {
        "step": step_module(snakemake.rule, params.get("domain")),
        "rule": snakemake.rule,
        "input": _plain(dict(snakemake.input.items())),
        "output": _plain(dict(snakemake.output.items())),
        "params": params,
        "threads": snakemake.threads,
        "gpus": count,
        "processes": int(snakemake.resources.get("processes", max(count, 1))) if shared else 1,
        "every_seconds": snakemake.config.get("checkpointing", {}).get("every_seconds", 60.0),
        "log": str(snakemake.log[0]),
        "began": time.time(),
    }
    gpus.take(count)
    code = forkserver.run_in_fork(spec) if spec["processes"] == 1 else None
    code = execute(spec) if code is None else code
    if code == 0 and snakemake.rule == AFTER_TRAINING:
        shutil.rmtree(spec["params"]["state"], ignore_errors=True)
    sys.exit(code)


def _params(params: Any) -> dict[str, Any]:
    """A rule's params by name; rules with many jobs give theirs in one mapping, `settings`."""
    named = _plain(dict(params.items()))
    return {**named.pop("settings", {}), **named}


def _plain(value: Any) -> Any:
    """Snakemake's named lists and the like as JSON values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, int | float | bool) or value is None else str(value)
