"""What a SLURM queue adds to a study: per job, and for the whole.

    python benchmarks/slurm_queue.py [--configfile tests/studies/linear.yaml]

Starts the test cluster (tests/cluster/slurm.py: two nodes on this machine, from Debian's packages), runs the study with
`--profile slurm` and without, and prints where the time of the queued jobs goes. Takes minutes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import mean

import yaml

from selfloop.jobs.record import attempts, recorded_logs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))

import slurm as slurms  # noqa: E402

SLURM_TIME = "%Y-%m-%dT%H:%M:%S"


def run(folder: Path, configfile: Path, options: list[str]) -> float:
    """Seconds of a run in a folder of its own."""
    for name in ("Snakefile", "src", "workflow", "config", "profiles", "slurm", "envs"):
        subprocess.run(["cp", "-r", ROOT / name, folder], check=True)
    path = folder / "config/resources.yaml"
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    for steps in table.values():
        for request in steps.values():
            request["mem_mb"] = 1500
    path.write_text(yaml.safe_dump(table), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--configfile", str(configfile), "--quiet", "all", *options]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Run both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=ROOT / "tests/studies/linear.yaml")
    configfile = parser.parse_args().configfile.resolve()
    with slurms.running() as slurm, tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        on_cluster = run(Path(there), configfile, ["--profile", "slurm"])
        listed = slurm.command("squeue", "--states=all", "--noheader", "--format=%V|%S|%e")
        here_alone = run(Path(here), configfile, ["--cores", "2"])
        steps = [attempts(log)[-1] for log in recorded_logs(Path(there) / "results/logs")]
    jobs = [[datetime.strptime(cell, SLURM_TIME) for cell in line.split("|")] for line in listed.splitlines()]
    work = [(step.done.work, step.done.start_up) for step in steps if step.done and step.begin.slurm_job]
    waited = mean((start - submitted).total_seconds() for submitted, start, _ in jobs)
    ran = mean((end - start).total_seconds() for _, start, end in jobs)
    worked, started = mean(w for w, _ in work), mean(s for _, s in work)
    print(f"{len(jobs)} jobs in the queue, {len(steps) - len(work)} steps beside Snakemake")
    print(f"mean seconds per job: {waited:.1f} in the queue, {ran:.1f} on the node; of these {worked:.1f} its work,")
    print(f"{started:.1f} its imports, and {ran - worked - started:.1f} for Snakemake to start twice (job and step)")
    print(f"the study: {on_cluster:.0f} s on the cluster, {here_alone:.0f} s on this machine without it")


if __name__ == "__main__":
    main()
