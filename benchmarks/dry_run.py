"""Wall-clock of a dry-run of a large study, from the command to the job counts.

python benchmarks/dry_run.py [--jobs 10000]
"""

import argparse
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


def dry_run(seeds: int, folder: Path) -> tuple[int, float]:
    """Jobs, and seconds, of a dry-run in an empty folder."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config(seeds)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(path), "--cores", "1", "--dry-run", "--quiet", "rules"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    totals = [line.split()[1] for line in (done.stdout + done.stderr).splitlines() if line.startswith("total")]
    return int(totals[-1]), seconds


def main() -> None:
    """Find the seeds that make at least the jobs asked for, and time that study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000, help="at least this many jobs (default: 10000)")
    wanted = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, _ = dry_run(1, folder)
        two, _ = dry_run(2, folder)
        jobs, seconds = dry_run(1 + -(-(wanted - one) // (two - one)), folder)
    print(f"{jobs} jobs: dry-run in {seconds:.1f} s ({jobs / seconds:,.0f} jobs/s)")


if __name__ == "__main__":
    main()
