"""What one `snakemake` command sets up before its jobs and cleans up after them."""

import gc
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from selfloop.code_digest import is_module
from selfloop.data import contents
from selfloop.errors import UserError
from selfloop.jobs import forkserver
from selfloop.jobs.logs import last_lines
from selfloop.jobs.record import failed_steps
from selfloop.jobs.spec import spec_file
from selfloop.jobs.steps import step_module
from selfloop.jobs.system_errors import advice
from selfloop.numbers import duration
from selfloop.planning import paths
from selfloop.planning.paths import LOGS, PAGE, RESULTS, SUMMARY
from selfloop.planning.rules import Plan
from selfloop.processes import gpus, lifetime, stopping
from selfloop.session import compat, folder_lock, provenance, signals, slurm

if TYPE_CHECKING:
    from snakemake.workflow import Workflow


FOLDERS: tuple[str, ...] = (".snakemake", RESULTS, LOGS, paths.STATE, paths.DATA, paths.MODELS, paths.PROFILES)
FOLDERS += (paths.SIMULATIONS, paths.FIGURES, paths.TABLES, paths.STUDY, os.path.dirname(PAGE))


class Session:
    """One run of the workflow; created when the Snakefile is parsed."""

    def __init__(self, workflow: "Workflow", plan: Plan) -> None:
        self.workflow, self.plan = workflow, plan
        self.began = time.time()
        plan.submits = lambda: self._executor() == "slurm"
        self._server: subprocess.Popen[bytes] | None = None
        if workflow.is_main_process:
            check_folders()
            for text in plan.warnings():
                _print(f"selfloop: {text}")
            if not is_writable(Path(RESULTS)):  # Snakemake would complain about protected outputs
                place = Path(RESULTS).resolve()
                print(f"selfloop: {place} is read-only; results cannot be written there.", file=sys.stderr)
            folder_lock.clear_stale_locks()
            compat.refuse_with(folder_lock.refusal)
            compat.say_of_errors(advice)
            if "--unlock" in sys.argv:
                if folder_lock.is_held():
                    sys.exit(f"selfloop: {folder_lock.refusal()}")
                folder_lock.forget()
        else:
            compat.record_where_jobs_run()
            compat.begin_shells_with(signals.SHELL)

    def begin(self) -> None:
        """Before the first job: lock the folder; let local steps die with this process, share its GPUs, and fork from a
        process that has imported torch; on a cluster, cancel the queued jobs of a killed run.

        Raises:
            SystemExit: another Snakemake runs in this folder, or the queue cannot be used; only the message is printed.
        """
        gc.enable()
        try:
            folder_lock.claim()
            contents.promise({section: read for e in self.plan.experiments for section, read in e.read.items()})
            if not is_writable(Path(RESULTS)):
                sys.exit(1)
            for message in provenance.changes(self.plan):
                print(f"selfloop: {message}", file=sys.stderr)
            if self.plan.submits():
                partitions, clusters = self._submitted_to()
                slurm.check(partitions)
                slurm.cancel_leftovers(clusters)
        except UserError as error:
            sys.exit(f"selfloop: {error}")
        if self.workflow.local_exec:
            lifetime.announce()
            signals.pass_on()
            compat.begin_shells_with(signals.SHELL_OF_MAIN)
            try:
                count = gpus.offer()
            except UserError as error:
                sys.exit(f"selfloop: {error}")
            if count and "gpu" not in self.workflow.global_resources:
                self.workflow.register_resource("gpu", count)
            try:
                self._server = forkserver.start(
                    dict.fromkeys(module for domain in self.plan.domains for module in domain.preload), self._modules()
                )
            except (OSError, UserError) as error:
                print(f"selfloop: every step imports its packages itself, which takes longer: {error}", file=sys.stderr)

    def _executor(self) -> str | None:
        """The name of the executor, once there is one."""
        plugin = self.workflow.executor_plugin
        return None if plugin is None else str(plugin.name)

    def _modules(self) -> list[str]:
        """What the steps of pending jobs import: packages that not all steps need, and modules of the library."""
        found = {"selfloop.jobs.execution": True}
        for rule in dict.fromkeys(job.rule.name for job in self.workflow.dag.needrun_jobs()):
            for domain in self.plan.domains:
                with suppress(KeyError):  # of another domain
                    found[step_module(rule, domain.name)] = True
        packages = {name: True for e in self.plan.experiments for name in e.domain.preload_of(e.model)}
        return [*packages, *(module for module in found if is_module(module))]

    def _submitted_to(self) -> tuple[set[str], set[str]]:
        """The partitions of the cluster at hand that pending jobs name, and the other clusters."""
        asked = [job.resources for job in self.workflow.dag.needrun_jobs() if not job.is_local]
        partitions, clusters = set(), set()
        for resources in asked:
            cluster = next((resources.get(key) for key in slurm.CLUSTER_KEYS if resources.get(key)), None)
            if cluster:
                clusters.add(str(cluster))
            elif resources.get("slurm_partition"):
                partitions.add(str(resources.get("slurm_partition")))
        return partitions, clusters

    def end(self, success: bool) -> None:
        """After the last job: show the study's words or the end of failed steps' logs; write the provenance."""
        from selfloop.session.display import end_bars  # rich, which jobs on a cluster need not import

        forkserver.stop(self._server)
        end_bars()
        if not success:
            for log, attempt in failed_steps(Path(LOGS), self.began).items():
                if attempt.failed is not None and attempt.failed.type == stopping.Stopped.__name__:
                    continue
                alone = f"To run this step alone: selfloop step {spec_file(log)}"
                _print(f"\nThe end of {log}:\n{last_lines(log)}\n{alone}")
        try:
            provenance.write(
                self.plan, self.plan.checked.plain, [str(file) for file in self.workflow.configfiles], success
            )
        except OSError as error:  # a full disk must not hide what failed
            print(f"selfloop: {provenance.FILE} was not written: {error}", file=sys.stderr)
        folder_lock.release()
        if success and Path(PAGE).is_file() and Path(SUMMARY).is_file():
            print(f"\n{Path(SUMMARY).read_text(encoding='utf-8')}\n", file=sys.stderr)
            print(f"Done in {duration(time.time() - self.began)}. The page: {Path(PAGE)}", file=sys.stderr)


def _print(text: str) -> None:
    """To standard error, in lines that a terminal has room for."""
    from selfloop.session.display import wrapped  # rich, which jobs on a cluster need not import

    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else sys.maxsize
    print(wrapped(text, width), file=sys.stderr)


def check_folders() -> None:
    """End the process where something else has the place of a folder, of which Snakemake would show a traceback."""
    for folder in map(Path, FOLDERS):
        if folder.exists() and not folder.is_dir():
            sys.exit(f"selfloop: '{folder}' is not a folder, and results need one there; move it elsewhere.")
        if folder.is_symlink() and not folder.exists() and folder != Path(RESULTS):  # which is made
            told = f"'{folder}' is a link to {folder.readlink()}, which is not there"
            sys.exit(f"selfloop: {told}; make that folder, or delete the link.")


def is_writable(folder: Path) -> bool:
    """Whether a folder, if it exists, can be written to."""
    return not folder.exists() or os.access(folder, os.W_OK | os.X_OK)
