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
DEADLINE = 300.0  # seconds for cancelled jobs to end; trainings save resume checkpoints meanwhile


def check(partitions: Iterable[str]) -> None:
    """Check that jobs can be submitted to these partitions.

    Raises:
        UserError: SLURM's commands are missing or fail, or there is no such partition.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "the profile submits to SLURM, but there is no sbatch on the PATH. Run it on a login node of the cluster, "
            "or without --profile: snakemake --cores all"
        )
    known = _ask("sinfo", "--noheader", "--format=%R").split()
    for partition in sorted(partitions):
        if partition not in known:
            raise UserError(
                f"slurm_partition: '{partition}' is no partition of this cluster. Allowed: {', '.join(known)}. "
                "It is set in slurm/profile.yaml or on the command line."
            )


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise UserError(f"{command[0]} does not answer: {done.stderr.strip()}")
    return done.stdout


def cancel_leftovers() -> None:
    """Cancel the jobs that an earlier Snakemake submitted from this folder, and wait until they end.

    Otherwise they would write the same outputs as the jobs that are about to be submitted. The caller holds the folder,
    so no Snakemake waits for them. A cancelled training saves a checkpoint, from which the new job resumes.

    Raises:
        UserError: the queue cannot be read, or the jobs do not end.
    """
    jobs = leftovers()
    if not jobs:
        return
    print(f"selfloop: cancels {len(jobs)} jobs of a Snakemake that was killed: {' '.join(jobs)}", file=sys.stderr)
    subprocess.run(["scancel", *jobs], check=False)
    deadline = time.monotonic() + DEADLINE
    while leftovers():
        if time.monotonic() > deadline:
            raise UserError(f"the jobs {' '.join(leftovers())} of an earlier run do not end; see squeue.")
        time.sleep(1.0)


def leftovers() -> list[str]:
    """Ids of the queued and running jobs that a Snakemake submitted from this folder.

    Raises:
        UserError: the queue cannot be read.
    """
    listed = _ask("squeue", "--noheader", "--me", "--format=%i|%j|%Z")
    rows = [line.split("|", 2) for line in listed.splitlines()]
    mine = os.environ.get("SLURM_JOB_ID")
    return [job for job, name, folder in rows if RUN.fullmatch(name) and folder == os.getcwd() and job != mine]
