"""What the collapse profile costs: the share of `measure_profile` in the own work of a finished study.

    python benchmarks/profile_share.py [RESULTS ...] [--most 0.2]

By the steps' records: their work without their start-up, by domain and in all; of jobs that ran again the last time.
The study's own work is that of data, training, sampling and evaluation; what collects, draws and writes is left out.
Exits with 1 where the profile takes more than `--most` of it.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

from selfloop.jobs.record import attempts, recorded_logs

PROFILE = "measure_profile"
OWN = ("prepare_data", "train_tokenizer", "tokenize", "measure_baseline", "concatenate", "train", "generate", "score",
       "evaluate_model", "evaluate_part", "simulate_chains")  # fmt: skip
ALL = "all domains"


def domains_of(results: Path) -> dict[str, str]:
    """The domain of every setting, by which folders of models and logs are named."""
    with (results / "chains.csv").open(encoding="utf-8", newline="") as file:
        return {row["model_folder"].split("/")[2]: row["domain"] for row in csv.DictReader(file)}


def work(results: Path) -> dict[str, dict[bool, float]]:
    """Seconds by domain, of the profile (True) and of the study's own steps (False)."""
    known, logs = domains_of(results), results / "logs"
    found: dict[str, dict[bool, float]] = defaultdict(lambda: {True: 0.0, False: 0.0})
    for log in recorded_logs(logs):
        ended = [attempt for attempt in attempts(log) if attempt.done is not None]
        rule = ended[-1].begin.rule.removesuffix("_with_reserve") if ended else ""
        if rule in (PROFILE, *OWN) and (done := ended[-1].done) is not None:
            setting = log.relative_to(logs).parts[1].removesuffix(".log")
            for name in (ALL, known.get(setting, "data and simulations")):
                found[name][rule == PROFILE] += done.work
    return found


def main() -> None:
    """Print the shares of every folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, default=[Path("results")])
    parser.add_argument("--most", type=float, default=0.2, help="of the study's own work")
    arguments = parser.parse_args()
    largest = 0.0
    for results in arguments.results:
        for name, seconds in sorted(work(results).items()):
            share = seconds[True] / seconds[False] if seconds[False] else 0.0
            print(
                f"{results}, {name}: profile {seconds[True]:.1f} s, {share:.1%} of {seconds[False]:.1f} s of own work"
            )
            largest = max(largest, share if name == ALL else 0.0)
    sys.exit(largest > arguments.most)


if __name__ == "__main__":
    main()
