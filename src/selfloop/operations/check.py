"""`selfloop check`: whether a config is right, and what its study would do and read, before Snakemake sees the file."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from selfloop.numbers import table
from selfloop.operations.cost import experiment_artifacts, with_shown
from selfloop.planning.artifacts import Experiment
from selfloop.planning.rules import Plan

MOST_LISTED = 10


def print_check(plan: Plan, file: Path) -> None:
    """Print that the config in `file` is right, how much its study has of what, and what data it reads."""
    rows = [["domain", "experiments", "chains", "models", "parts", "jobs"]]
    everything: set[tuple[str, str]] = set()
    for domain in plan.domains:
        experiments = [experiment for experiment in plan.experiments if experiment.domain == domain]
        artifacts = {key for experiment in experiments for key in experiment_artifacts(experiment, None)}
        chains = sum(chain.experiment.domain == domain for chain in plan.chains)
        rows.append(
            _row(domain.name, len({each.name for each in experiments}), chains, Counter(rule for rule, _ in artifacts))
        )
        everything |= artifacts
    jobs = with_shown(plan, Counter(rule for rule, _ in everything))
    rows.append(_row("in all", len({each.name for each in plan.experiments}), len(plan.chains), jobs))
    print(f"{file} is right. Its study:\n")
    print(table(rows, right=range(1, len(rows[0]))))
    read = [*dict.fromkeys(name for experiment in plan.experiments for name in _reads(experiment))]
    for text in plan.warnings():
        print(f"\n{text}")
    print(f"\nData that it reads: {', '.join(read[:MOST_LISTED]) or 'none'}", end="")
    print(f" and {len(read) - MOST_LISTED} more." if len(read) > MOST_LISTED else ".")


def _row(name: str, experiments: int, chains: int, jobs: Mapping[str, int]) -> list[str]:
    counts = (experiments, chains, jobs.get("train", 0), jobs.get("generate", 0), sum(jobs.values()))
    return [name, *(f"{count:,}" for count in counts)]


def _reads(experiment: Experiment) -> list[str]:
    """The files of an experiment's data, or what its source calls them."""
    data = experiment.data
    named = " ".join(filter(None, (getattr(data, key, None) for key in ("source", "name", "folder"))))
    return experiment.domain.input_files(data) or ([named] if named else [])
