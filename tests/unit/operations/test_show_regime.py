"""`selfloop show-regime` says which rows of which artifact each model learns from."""

from pathlib import Path
from typing import Any

import pytest

from selfloop.errors import UserError
from selfloop.operations.show_regime import print_regime
from selfloop.planning.rules import Plan, plan_study

TABLES: dict[str, Any] = {
    "tenth": [{"from": "fresh", "amount": 0.1}, {"from": "previous", "amount": 0.9, "weight": 2}],
    "same": [{"from": "real", "amount": 0.1, "rows": "same"}, {"from": "previous"}],
    "unused": [{"from": "all", "last": 2, "amount": 0.5}],
}
CONFIG: dict[str, Any] = {
    "experiments": {
        "line": {
            "domain": "linear",
            "data": {"dimension": 2, "rows": 8, "reserve": 1},
            "regimes": ["tenth", "same", "accumulate-subsample"],
            "iterations": 7,
            "seeds": [3],
        }
    },
    "regimes": {name: {"parts": parts} for name, parts in TABLES.items()},
}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return plan_study(CONFIG)


def shown(plan: Plan, name: str, capsys: pytest.CaptureFixture[str], iterations: int | None = None) -> list[list[str]]:
    """The rows of the table, as words, without runs of spaces."""
    print_regime(plan, name, iterations)
    lines = capsys.readouterr().out.split("\n\n")[1].splitlines()
    return [line.split() for line in lines[1:]]


def test_every_take_of_a_chain_is_a_row_with_its_artifact(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    chain = plan.chains[0]
    rows = shown(plan, "tenth", capsys, iterations=3)
    takes = [(model.iteration, take.amount, folder) for model in chain.models[:3] for take, folder in model.takes]
    assert [(int(row[0]), row[-1]) for row in rows] == [(iteration, folder) for iteration, _, folder in takes]
    assert " ".join(rows[3]).startswith("3 the reserve 0.1 0.1T 1 0.1T to 0.2T of the chain's own order results/data/")
    assert " ".join(rows[4]).startswith("3 model 2, part 0 0.9 0.9T 2 drawn for this iteration results/models/")


def test_rows_that_stay_the_same_are_told_from_those_of_an_iteration(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [" ".join(row) for row in shown(plan, "same", capsys, iterations=2)]
    assert "drawn once for the chain" in rows[1]
    assert "model 1, part 0 1 1T 1 all results/models" in rows[2]


def test_a_budget_is_said_after_the_rows_that_it_cuts(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(plan, "accumulate-subsample", capsys)
    assert [int(row[0]) for row in rows] == [1, *[n for n in range(2, 6) for _ in range(n + 1)]]
    assert " ".join(rows[3]).startswith("2 all of the above 1 1T at most, drawn for this iteration")


def test_a_regime_without_an_experiment_is_shown_without_artifacts(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shown(plan, "unused", capsys, iterations=4)
    assert [" ".join(row[:5]) for row in rows] == [
        "1 the train split 1",
        "2 model 1, part 0",
        "3 model 1, part 0",
        "3 model 2, part 0",
        "4 model 2, part 0",
        "4 model 3, part 0",
    ]


def test_the_model_that_a_training_starts_from_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = {
        "domain": "text",
        "data": {"source": "packaged", "name": "shakespeare", "rows": 100},
        "model": {"architecture": "gpt2", "hidden_size": 8, "layers": 1, "heads": 2, "context": 8, "vocabulary": 300},
        "training": {"start": "previous"},
        "regimes": ["real"],
        "iterations": 3,
        "seeds": [0],
    }
    plan = plan_study({"experiments": {"a": text}})
    started = [row for row in shown(plan, "real", capsys) if "weights" in row]
    names = [model.name for model in plan.chains[0].models]
    assert [(row[0], row[-1]) for row in started] == [
        (str(n), f"results/models/{names[n - 2]}/checkpoint") for n in (2, 3)
    ]


def test_an_unknown_regime_and_too_many_iterations_are_refused(plan: Plan) -> None:
    with pytest.raises(UserError, match="unknown regime 'tents'; did you mean 'tenth'"):
        print_regime(plan, "tents")
    with pytest.raises(UserError, match="--iterations: 8 is more than the 7 of 'tenth' here"):
        print_regime(plan, "tenth", 8)
