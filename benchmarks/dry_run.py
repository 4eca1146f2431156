"""Time of a dry-run of a large study, from the command to the job counts.

python benchmarks/dry_run.py [--jobs 10000]
python benchmarks/dry_run.py --iterations 100 300 1000      of one chain of accumulate
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def config(seeds: int) -> dict[str, object]:
    """A study of two models, three regimes and ten iterations for each seed: 324 jobs per model and seed."""
    experiment = {
        "domain": "text",
        "data": {"source": "packaged", "name": "shakespeare", "rows": 1000},
        "model": {"architecture": "gpt2", "hidden_size": 64, "layers": 2, "heads": 2, "context": 64, "vocabulary": 512},
        "regimes": ["replace", "accumulate", "replace-multiple"],
        "iterations": 10,
        "seeds": list(range(seeds)),
    }
    return {"experiments": {"gpt2": experiment, "llama": {"like": "gpt2", "model": {"architecture": "llama"}}}}


def accumulating(iterations: int) -> dict[str, object]:
    """A study of one chain, whose training sets are made of iterations²/2 data sets."""
    experiment = {"domain": "linear", "data": {"dimension": 3, "rows": 32}, "regimes": ["accumulate"], "seeds": [0]}
    return {"experiments": {"linear": experiment | {"iterations": iterations}}}


def dry_run(study: dict[str, object], folder: Path) -> tuple[int, float]:
    """Jobs, and seconds, of a dry-run in an empty folder."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(path), "--cores", "1", "--dry-run", "--quiet", "rules"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    totals = [line.split()[1] for line in (done.stdout + done.stderr).splitlines() if line.startswith("total")]
    return int(totals[-1]), seconds


def cpu_seconds() -> float:
    """Of the processes that have ended, which does not depend on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Time studies of accumulate; or find the seeds that make at least the jobs asked for, and time that study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000, help="at least this many jobs (default: 10000)")
    parser.add_argument("--iterations", type=int, nargs="+", help="of accumulate, instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.iterations:
            for iterations in asked.iterations:
                before = cpu_seconds()
                jobs, seconds = dry_run(accumulating(iterations), folder)
                used = cpu_seconds() - before
                print(f"{iterations} iterations, {jobs} jobs: {seconds:.1f} s, {used:.1f} s of CPU time")
            return
        one, _ = dry_run(config(1), folder)
        two, _ = dry_run(config(2), folder)
        jobs, seconds = dry_run(config(1 + -(-(asked.jobs - one) // (two - one))), folder)
    print(f"{jobs} jobs: dry-run in {seconds:.1f} s ({jobs / seconds:,.0f} jobs/s)")


if __name__ == "__main__":
    main()
