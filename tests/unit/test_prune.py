"""What may be deleted of a study, and what has to stay."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.plan import Plan, plan_study
from selfloop.progress import steps
from selfloop.prune import prunable

CONFIG: dict[str, Any] = yaml.safe_load("""
experiments:
  line:
    domain: linear
    data: {dimension: 2, rows: 8, noise_variance: 1.0}
    regimes: [replace]
    iterations: 3
    seeds: [0]
""")


def made(path: Path) -> Path:
    """A file there, and the folders around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(10))
    return path


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A study, and the current folder with all its outputs."""
    monkeypatch.chdir(tmp_path)
    plan = plan_study(deepcopy(CONFIG))
    finish(plan)
    return plan


def finish(plan: Plan) -> None:
    """Make all outputs of a study's loop."""
    for chain in plan.chains:
        for model, jobs in zip(chain.models, steps(chain), strict=True):
            made(Path("results/models", model.name, "checkpoint/model.safetensors"))
            for job in jobs:
                made(job.output)


def pruned(plan: Plan) -> set[str]:
    """What would be deleted."""
    return {str(item.path) for item in prunable(plan)}


def test_the_state_of_a_training_without_a_checkpoint_stays(plan: Plan) -> None:
    name = plan.chains[0].models[2].name
    state = made(Path("results/state", name, "state.safetensors")).parent
    assert str(state) in pruned(plan)
    Path("results/models", name, "checkpoint/model.safetensors").unlink()
    Path("results/models", name, "checkpoint").rmdir()
    assert str(state) not in pruned(plan)


def test_the_state_of_a_training_stays_until_its_model_is_evaluated(plan: Plan) -> None:
    """Snakemake may not have recorded the training: a kill right after it has it done again."""
    name = plan.chains[0].models[2].name
    state = made(Path("results/state", name, "state.safetensors")).parent
    curve, measured = (Path("results/models", name, file) for file in ("learning_curve.parquet", "measurements.json"))
    assert str(state) in pruned(plan)
    os.utime(curve, ns=(0, measured.stat().st_mtime_ns + 1))  # measured was the model of an earlier training
    assert str(state) not in pruned(plan)
    measured.unlink()
    assert str(state) not in pruned(plan)
