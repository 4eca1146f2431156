"""Filters in a whole study: what is scored once, what a failing program costs, and what is written of a choice."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from selfloop.planning.rules import plan_study

from .conftest import Workflow

STUDY: dict[str, Any] = yaml.safe_load("""
experiments:
  line:
    domain: linear
    data: {dimension: 2, rows: 20}
    regimes: [verified, softly]
    iterations: 2
    seeds: [0]
filters:
  mine: {by: command, command: [python, verifier/verify.py], candidates: 3}
  softly: {by: command, command: [python, verifier/verify.py], keep: drawn, noise: 0.1}
regimes:
  verified: {parts: [{from: previous, filter: mine}], control: random}
  softly: {parts: [{from: previous, filter: softly}]}
figures: {formats: [svg]}
""")
GOOD = "import json, sys\nfor line in sys.stdin:\n    row = json.loads(line)\n    print(-abs(row['y'] - row['x'][0]))\n"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow.fresh(tmp_path_factory.mktemp("filters") / "study", "study.yaml")
    (workflow.folder / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    return workflow


def training_sets(workflow: Workflow) -> list[str]:
    """Of the models of iteration 2: of the filtered regime, of its twin, and of the other filtered one."""
    regimes = ("verified", "verified-random", "softly")
    return [f"{workflow.model_folder('line', regime, 2)}/training-set" for regime in regimes]


def test_a_failing_program_is_one_message_and_scores_are_computed_once(
    workflow: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workflow.folder)
    program = Path("verifier/verify.py")  # apart from what the folder has to shadow modules
    program.parent.mkdir()
    program.write_text("import sys\nsys.exit('the verifier is out of order')\n")
    sets = training_sets(workflow)
    run = workflow.snakemake("--keep-going", sets[0], sets[1], code=1)
    message = "filter command 'python verifier/verify.py', rows 0 to 19 of"
    assert message in run.output
    assert "exit code 1: the verifier is out of order" in run.output
    assert "Traceback" not in run.output
    assert Path(sets[1]).is_dir(), "the twin needs no scores"
    parts = [folder for _, folder in plan_study(STUDY).chains[0].models[1].takes]
    assert len(parts) == 3
    assert all(Path(folder).is_dir() for folder in parts), "nothing is lost"

    program.write_text(GOOD)
    sets = training_sets(workflow)
    run = workflow.snakemake(*sets)
    # The three parts of model 1, which two regimes choose from by one scorer; and two training sets.
    assert [job.split()[0] for job in run.jobs] == ["concatenate"] * 2 + ["score"] * 3
    manifest = json.loads((Path(sets[0]) / "manifest.json").read_text())
    assert manifest["filters"][0]["candidates"] == 60
    assert manifest["rows"] == 20
    scores = [pq.read_table(score.file).column("score").to_numpy() for score in plan_study(STUDY).scores.values()]
    assert [len(each) for each in scores] == [20, 20, 20]
    assert manifest["filters"][0]["kept_score"] > manifest["filters"][0]["score"]
    assert not workflow.would_run(*sets)
