"""What is said before results are added to those of a folder."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from selfloop.jobs.device import Device
from selfloop.jobs.record import Record
from selfloop.planning import paths, rules
from selfloop.planning.rules import Plan, plan_study
from selfloop.session import provenance


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A study whose results lie in the working folder, without records of Snakemake's."""
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    experiment = {"domain": "linear", "data": {"dimension": 2, "rows": 8}, "regimes": ["replace"]}
    made = plan_study({"experiments": {"a": {**experiment, "iterations": 1, "seeds": [0]}}})
    provenance.write(made, made.checked.plain, [], complete=True)
    return made


def test_results_of_other_code_are_said_where_no_record_tells_which(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance.changes(plan) == []
    real = rules.step_code
    monkeypatch.setattr(rules, "step_code", lambda step, of: "new" if step == "train" else real(step, of))
    (said,) = provenance.changes(plan)
    assert said.startswith("results was made by other code (linear train), and this folder has no records of it")
    provenance.RECORDS.mkdir(parents=True)
    assert provenance.changes(plan) == [said]
    (provenance.RECORDS / "a").touch()  # by which Snakemake finds out itself
    assert provenance.changes(plan) == []


def test_of_every_model_the_device_driver_dtype_and_backend_are_told(plan: Plan) -> None:
    (name,) = plan.models
    used = Device("H100", "9.0", 80 * 2**30, "580.95", "13.0", "2.13.0", "bfloat16", "FLASH_ATTENTION", True, 2)
    with Record(Path(paths.log("train", name))) as record:
        begin = record.begin("train", logging.getLogger("x"))
        record.device(used)
    provenance.write(plan, plan.checked.plain, [], complete=True)
    artifact = json.loads(Path(provenance.FILE).read_text())["artifacts"][paths.model(name)]
    assert artifact["ran_on"] == begin.place
    assert artifact["device"] == asdict(used)
