"""What is said before results are added to those of a folder."""

from pathlib import Path

import pytest

from selfloop.planning import rules
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
