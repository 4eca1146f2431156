"""Check SLURM before a run, and cancel the jobs that a killed Snakemake has left in its queue."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable

from selfloop.errors import UserError

# The executor plugin names all jobs of a run after a UUID, with an optional prefix.
RUN = re.compile(r"(\w[\w-]*_)?[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CLUSTER_KEYS = ("cluster", "clusters", "slurm_cluster")  # a job's resources by which the plugin names another cluster
DEADLINE = 300.0  # seconds for cancelled jobs to end; trainings save resume checkpoints meanwhile


def check(partitions: Iterable[str]) -> None:
    """Check that jobs can be submitted to these partitions of the cluster at hand.

    Each is what `sbatch --partition` takes: a name, or several with commas between. A name that `sinfo` does not list
    is refused only if sbatch does not take it either: a site may have names of its own.

    Raises:
        UserError: there is no sbatch, or no such partition.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "the profile submits to SLURM, but there is no sbatch on the PATH. Run it on a login node of the cluster, "
            "or without --profile: snakemake --cores all"
        )
    asked = {name for partition in partitions for name in partition.split(",") if name}
    known = _lines("sinfo", "--noheader", "--all", "--format=%R") if asked else []
    for name in sorted(asked - set(known)):
        if known and not _accepts(name):
            raise UserError(
                f"slurm_partition: '{name}' is not a partition of this cluster. Allowed: {', '.join(known)}. "
                "It is set in slurm/profile.yaml or on the command line."
            )


def _lines(*command: str) -> list[str]:
    """What a command says, or nothing where it fails: then sbatch will say what is wrong."""
    try:
        return [line.strip() for line in _ask(*command).splitlines()]
    except UserError:
        return []


def _accepts(partition: str) -> bool:
    command = ["sbatch", "--test-only", "--partition", partition, "--wrap", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise UserError(f"{command[0]} does not answer: {done.stderr.strip()}")
    return done.stdout


def cancel_leftovers(clusters: Iterable[str] = ()) -> None:
    """Cancel the jobs that an earlier Snakemake submitted from this folder, and wait until they end.

    Otherwise they would write the same outputs as the jobs that are about to be submitted. The caller holds the folder,
    so no Snakemake waits for them. A cancelled training saves a checkpoint, from which the new job resumes.

    Args:
        clusters: those besides the one at hand that jobs are submitted to.

    Raises:
        UserError: the queue cannot be read, or the jobs do not end.
    """
    deadline = time.monotonic() + DEADLINE
    for where in ([], *([f"--clusters={names}"] for names in sorted(clusters))):
        jobs = leftovers(*where)
        if not jobs:
            continue
        print(f"selfloop: cancels {len(jobs)} jobs of a Snakemake that was killed: {' '.join(jobs)}", file=sys.stderr)
        subprocess.run(["scancel", *where, *jobs], check=False)
        while jobs := leftovers(*where):
            if time.monotonic() > deadline:
                raise UserError(f"the jobs {' '.join(jobs)} of an earlier run do not end; see squeue.")
            time.sleep(1.0)


def leftovers(*options: str) -> list[str]:
    """Ids of the queued and running jobs that a Snakemake submitted from this folder; `options` are squeue's.

    Raises:
        UserError: the queue cannot be read.
    """
    listed = _ask("squeue", *options, "--noheader", "--me", "--format=%i|%j|%Z")
    rows = [line.split("|", 2) for line in listed.splitlines() if line.count("|") > 1]  # others name clusters
    mine = os.environ.get("SLURM_JOB_ID")
    return [job for job, name, folder in rows if RUN.fullmatch(name) and folder == os.getcwd() and job != mine]
