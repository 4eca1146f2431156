"""The jobs that `selfloop estimate` counts are those that Snakemake would run."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from selfloop.operations.cost import costs
from selfloop.planning import study
from selfloop.planning.check import check
from selfloop.planning.rules import Plan

from .conftest import Workflow


@pytest.mark.parametrize("name", ["config/paper.yaml", "tests/studies/tiny.yaml"])
def test_the_estimate_counts_the_jobs_of_a_dry_run(tmp_path: Path, name: str) -> None:
    """Of the paper's study too: its data come from the hub, which planning does not ask."""
    workflow = Workflow.fresh(tmp_path / "tree", name)
    process = workflow.start("--dry-run")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    jobs = Counter(json.loads(line)["rule"] for line in workflow.noted.read_text(encoding="utf-8").splitlines())
    assert jobs.pop("all") == 1

    checked = check(yaml.safe_load((workflow.folder / name).read_text(encoding="utf-8")))
    plan = Plan(study.build(checked).experiments)
    plan.checked = checked
    lines, _ = costs(plan)
    assert lines[-1].jobs == jobs
