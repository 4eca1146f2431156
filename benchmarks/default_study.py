"""Wall-clock of the default study, and the share of it that is not the steps' own work.

    python benchmarks/default_study.py [--cores 2] [--configfile config/config.yaml]

The study runs in a temporary folder, from nothing. Each step's record says how long it worked and how long it took to
start; what is left of cores times wall-clock is Snakemake's own time and cores that had nothing to do.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from selfloop.jobs.record import attempts, recorded_logs

ROOT = Path(__file__).resolve().parent.parent


def run_study(folder: Path, cores: int, configfile: str) -> float:
    """Seconds from the command to its end."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", configfile, "--cores", str(cores), "--quiet", "all"]
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True)
    return time.perf_counter() - began


def steps(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Seconds of work and of start-up of every job, by rule."""
    found = defaultdict(list)
    for log in recorded_logs(folder / "results/logs"):
        for attempt in attempts(log):
            if attempt.done is not None:
                found[attempt.begin.rule].append((attempt.done.work, attempt.done.start_up))
    return dict(found)


def main() -> None:
    """Run, and print a table by rule and the shares of the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--configfile", default=str(ROOT / "config" / "config.yaml"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = run_study(folder, arguments.cores, str(Path(arguments.configfile).resolve()))
        found = steps(folder)
    print(f"{'rule':<24} {'jobs':>5} {'work':>9} {'start-up':>9}   (core-seconds)")
    for rule, times in sorted(found.items(), key=lambda item: -sum(work for work, _ in item[1])):
        print(f"{rule:<24} {len(times):>5} {sum(t[0] for t in times):>9.1f} {sum(t[1] for t in times):>9.1f}")
    work = sum(work for times in found.values() for work, _ in times)
    start_up = sum(start_up for times in found.values() for _, start_up in times)
    whole = seconds * arguments.cores
    print(f"wall-clock {seconds:.0f} s on {arguments.cores} cores, {sum(map(len, found.values()))} jobs")
    rest = 1 - (work + start_up) / whole
    print(f"the steps' own work {work / whole:.0%}, their start-up {start_up / whole:.0%}, the rest {rest:.0%}")


if __name__ == "__main__":
    main()
