"""Every patch of Snakemake, all of them seen necessary with 9.27.

Slow planning: https://github.com/snakemake/snakemake/issues/1575. The order of an output's record and its mark:
https://github.com/snakemake/snakemake/pull/3197. Timers that multiply: https://github.com/snakemake/snakemake/pull/3744.
A Python in a path with spaces, the reading of configs, the advice to unlock, and tracebacks on a full disk: we know of
no upstream issue.
"""

import inspect
import shlex
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import snakemake.api  # before the modules below, which import each other
import snakemake.exceptions
import snakemake.workflow
from snakemake import common, dag, io, resources, script
from snakemake.executors import local
from snakemake.jobs import Job
from snakemake.output_index import OutputIndex
from snakemake.persistence import PersistenceBase
from snakemake.rules import Rule
from snakemake.scheduling import job_scheduler
from snakemake.settings import types
from snakemake.settings.enums import RerunTrigger
from snakemake.shell import shell
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from selfloop.config.load import read
from selfloop.errors import UserError

Finished = Callable[[PersistenceBase, Job], Awaitable[None]]  # a method of it


def read_configs() -> None:
    """Let Snakemake read the files of its option `--configfile` as `selfloop check` does.

    It reads them before the Snakefile, with the slow loader of PyYAML and with YTE, which runs the Python code in them;
    what is no text or nested too deep ends in a traceback. For the profile, which is read still earlier.
    """

    def load(path: Path) -> dict[str, object]:
        try:
            return read(path)
        except UserError as error:
            sys.exit(f"selfloop: {error}")

    types.load_configfile = load


def plan_faster(*owners: type) -> None:
    """Spare Snakemake from working out again for every job what is the same for all jobs of a rule.

    For each job it parses the signatures of the functions that give inputs, params and resources, and reads the source
    of the rule's script, which is a third of a dry-run of 10,000 jobs (benchmarks/dry_run.py). The signatures of the
    methods of `owners` that take wildcards are told it here, by its own hook; a script is read for one job of its rule.
    """
    methods = [method for owner in owners for method in vars(owner).values() if inspect.isfunction(method)]
    declared = [method for method in methods if "wildcards" in inspect.signature(method).parameters]
    for method in [resources.Resource.evaluate, *declared]:
        parameters = dict(inspect.signature(method).parameters)
        del parameters["self"]  # Snakemake asks about bound methods
        common.overwrite_function_params(method, parameters)
    if not hasattr(dag.ScriptProcessor.process_job, "once"):
        dag.ScriptProcessor.process_job = once_per_rule(dag.ScriptProcessor.process_job)
        io._IOFile.check = once_per_path(io._IOFile.check)
        OutputIndex.match_producers = once_per_target(OutputIndex.match_producers)


def once_per_rule(
    process_job: Callable[[dag.ScriptProcessor, Job], None],
) -> Callable[[dag.ScriptProcessor, Job], None]:
    """The same check that a job's script is there, for one job of a rule; none of our scripts is named by wildcards."""
    checked = set()

    def once(processor: dag.ScriptProcessor, job: Job) -> None:
        if (processor.script_type, job.rule) not in checked:  # notebooks are looked for by the same function
            process_job(processor, job)
            checked.add((processor.script_type, job.rule))

    once.once = True  # type: ignore[attr-defined]
    return once


def once_per_path(check: Callable[[io._IOFile], None]) -> Callable[[io._IOFile], None]:
    """The same warnings about what a path looks like, for the first of the jobs that have it."""
    checked = set()

    def once(file: io._IOFile) -> None:
        if file._file not in checked:
            check(file)
            checked.add(file._file)

    return once


def once_per_target(match: Callable[[OutputIndex, str], set[Rule]]) -> Callable[[OutputIndex, str], set[Rule]]:
    """The same rules that may make a file, for the first of the jobs that read it: the rules stay as they are."""

    def once(index: OutputIndex, target: str) -> set[Rule]:
        known: dict[str, set[Rule]] = index.__dict__.setdefault("known", {})
        if target not in known:
            known[target] = match(index, target)
        return known[target]

    return once


def ignore_dates() -> None:
    """Let no date of a file rerun, or refuse, anything: neither a copy, a touch nor a clock that is wrong.

    Snakemake compares dates whatever its option rerun-triggers says, and deletes a job's outputs if an input is dated
    later. Names of artifacts and params of jobs hold all that results depend on, see `planning.study` and `.rules`.
    """

    async def is_newer(file: object, than: float) -> bool:
        return False

    async def no_check(graph: object, job: object, expanded_output: object) -> None:
        pass

    def triggers(workflow: snakemake.workflow.Workflow) -> frozenset[RerunTrigger]:
        # The trigger `code` watches the date of the script.
        return frozenset(workflow.dag_settings.rerun_triggers) & {RerunTrigger.PARAMS, RerunTrigger.INPUT}

    io._IOFile.is_newer = is_newer
    dag.DAG.check_output_mtime = no_check
    snakemake.workflow.Workflow.rerun_triggers = property(triggers)


def record_without_deleted() -> None:
    """Leave inputs named `deleted` out of what a job is remembered to be made from; see `planning.sources`."""
    recorded = PersistenceBase._input

    def without(persistence: PersistenceBase, job: Job) -> list[str]:
        deleted = set(job.input.get("deleted", ()))
        return [file for file in recorded(persistence, job) if file not in deleted]

    if not hasattr(recorded, "keeps"):
        without.keeps = True  # type: ignore[attr-defined]
        PersistenceBase._input = without


def schedule_once() -> None:
    """Let one timer at a time wake the scheduler.

    With its limit of jobs per second, which is set by default, each round of Snakemake's scheduler sets a timer for
    another round a second later. Every job that ends begins a round, so that after n jobs there are n rounds a second.
    """

    def reevaluate(scheduler: job_scheduler.JobScheduler, delay: float) -> None:
        def wake() -> None:
            scheduler.timer = None  # first, so that the round which begins now can set the next one
            scheduler._open_jobs.release()

        if getattr(scheduler, "timer", None) is None:
            scheduler.timer = threading.Timer(delay, wake)
            scheduler.timer.daemon = True
            scheduler.timer.start()

    job_scheduler.JobScheduler._schedule_reevalutation = reevaluate


def quote_python() -> None:
    """Let the path of this process's Python hold spaces: Snakemake leaves it unquoted in the commands of its jobs."""
    execute = script.ScriptBase._execute_cmd
    if hasattr(execute, "quotes"):
        return

    def quoting(owner: script.ScriptBase, command: str, **values: object) -> None:
        if "py_exec" in values:
            values["py_exec"] = shlex.quote(str(values["py_exec"]))
        execute(owner, command, **values)

    quoting.quotes = True  # type: ignore[attr-defined]
    script.ScriptBase._execute_cmd = quoting
    for executor in (local.Executor, RemoteExecutor):
        executor.get_python_executable = quoted(executor.get_python_executable)


def quoted(path: Callable[[object], str]) -> Callable[[object], str]:
    """The same path as a word of a shell's command."""
    return lambda owner: shlex.quote(path(owner))


def record_where_jobs_run() -> None:
    """Let this process's Snakemake write a record for each of its jobs, whoever else does.

    Snakemake leaves the record of what outputs were made from to the main process. But a job on a cluster ends its
    outputs' mark of being incomplete by itself: if the main process is gone by then (a lost connection, a node's end),
    outputs are left that look finished and have no record, and no change of code or settings reruns them.
    """
    if not hasattr(PersistenceBase.finished, "records"):
        PersistenceBase.finished = recording(PersistenceBase.finished)


def recording(finished: Finished) -> Finished:
    """The same, in the manner of jobs that are submitted all at once: these have no main process to write for them."""

    async def recorded(persistence: PersistenceBase, job: Job) -> None:
        settings = persistence.dag.workflow.remote_execution_settings
        before, settings.immediate_submit = settings.immediate_submit, True
        try:
            await finished(persistence, job)
        finally:
            settings.immediate_submit = before

    recorded.records = True  # type: ignore[attr-defined]
    return recorded


def refuse_with(refusal: Callable[[], str]) -> None:
    """Say `refusal()` where the folder is locked; Snakemake advises to unlock it, also where another one is alive."""
    snakemake.exceptions.LockException = lambda: SystemExit(f"selfloop: {refusal()}")


def begin_shells_with(commands: str) -> None:
    """Begin the shell commands of jobs with others; like Snakemake's own beginning, which that replaces."""
    shell.prefix(f'{commands}[ -z "$BASH_VERSION" ] || set -euo pipefail; ')


def say_of_errors(advice: Callable[[BaseException], str | None]) -> None:
    """Say `advice(error)`, once, in place of what Snakemake shows of an error, which may be a traceback."""
    said: set[str] = set()
    shown = snakemake.exceptions.print_exception

    def show(error: BaseException, *arguments: object, **options: object) -> None:
        text = advice(error)
        if text is None:
            shown(error, *arguments, **options)
        elif not said:
            said.add(text)
            print(f"selfloop: {text}", file=sys.stderr)

    for module in (snakemake.api, local, job_scheduler):
        module.print_exception = show
