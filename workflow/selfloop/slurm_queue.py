"""The jobs that a killed Snakemake has left in SLURM's queue."""

import os
import re
import shutil
import subprocess
import sys
import time

from selfloop.errors import UserError

# The executor plugin names all jobs of one run after a UUID, perhaps with a prefix.
RUN = re.compile(r"(\w[\w-]*_)?[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
DEADLINE = 300.0  # seconds until cancelled jobs are gone; trainings save their states meanwhile


def cancel_leftovers() -> None:
    """Cancel this user's jobs that an earlier Snakemake submitted from this folder, and wait for their end.

    They would go on beside the jobs that are about to be submitted, for the same outputs. The caller holds the folder,
    so no Snakemake waits for them. A training that is cancelled saves its state, from which the new job goes on.

    Raises:
        UserError: SLURM's commands are not there, do not answer, or the jobs do not end.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "the profile submits to SLURM, and there is no sbatch on the PATH. Run it on a login node of the cluster, "
            "or without --profile: snakemake --cores all"
        )
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
    """Ids of the queue's jobs that a Snakemake submitted from this folder.

    Raises:
        UserError: the queue cannot be read.
    """
    command = ["squeue", "--noheader", "--me", "--format=%i|%j|%Z"]
    listed = subprocess.run(command, check=False, capture_output=True, encoding="utf-8")
    if listed.returncode != 0:
        raise UserError(f"squeue does not answer: {listed.stderr.strip()}")
    rows = [line.split("|", 2) for line in listed.stdout.splitlines()]
    mine = os.environ.get("SLURM_JOB_ID")
    return [job for job, name, folder in rows if RUN.fullmatch(name) and folder == os.getcwd() and job != mine]
