"""Wall-clock of the default study, and the share of it that is not the steps' own work.

    python benchmarks/default_study.py [--cores 2] [--configfile config/config.yaml] [--finished FOLDER]

The study runs in a temporary folder, from nothing; or the shares are those of a study that has run in a folder. Each
step's record says how long it worked and how long it took to start; what is left of cores times wall-clock is
Snakemake's own time and cores that had nothing to do.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from selfloop.jobs.record import attempts, recorded_logs
from selfloop.processor import processor

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "training": ("train",),
    "sampling": ("generate",),
    "evaluation": ("measure_baseline", "evaluate_model", "evaluate_part"),
}


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


def print_shares(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print what the core-seconds of all steps went to."""
    whole = sum(work + start_up for times in found.values() for work, start_up in times)
    shares = {
        kind: sum(work for rule in rules for work, _ in found.get(rule, [])) / whole for kind, rules in KINDS.items()
    }
    shares["start-up"] = sum(start_up for times in found.values() for _, start_up in times) / whole
    shares["the rest"] = 1 - sum(shares.values())
    print(", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()), f"of {whole:.0f} core-seconds")


def main() -> None:
    """Run, and print a table by rule and the shares of the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--configfile", default=str(ROOT / "config" / "config.yaml"))
    parser.add_argument("--finished", type=Path, metavar="FOLDER", help="of a study that has run")
    arguments = parser.parse_args()
    print(processor())
    if arguments.finished:
        print_shares(steps(arguments.finished))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = run_study(folder, arguments.cores, str(Path(arguments.configfile).resolve()))
        found = steps(folder)
    print(f"{'rule':<24} {'jobs':>5} {'work':>9} {'start-up':>9}   (core-seconds)")
    for rule, times in sorted(found.items(), key=lambda item: -sum(work for work, _ in item[1])):
        print(f"{rule:<24} {len(times):>5} {sum(t[0] for t in times):>9.1f} {sum(t[1] for t in times):>9.1f}")
    print_shares(found)
    work = sum(work for times in found.values() for work, _ in times)
    start_up = sum(start_up for times in found.values() for _, start_up in times)
    whole = seconds * arguments.cores
    print(f"wall-clock {seconds:.0f} s on {arguments.cores} cores, {sum(map(len, found.values()))} jobs")
    rest = 1 - (work + start_up) / whole
    print(f"the steps' own work {work / whole:.0%}, their start-up {start_up / whole:.0%}, the rest {rest:.0%}")


if __name__ == "__main__":
    main()
