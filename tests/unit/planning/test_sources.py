"""What training sets are made of, and how much of it Snakemake has to know."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfloop.planning import paths
from selfloop.planning.artifacts import Model
from selfloop.planning.rules import Plan, plan_study

REGIMES: dict[str, Any] = {
    "window": {"parts": [{"from": "all", "last": 2}]},
    "aged": {"parts": [{"from": "all", "by_age": [1, 0, 2.5]}]},
    "alternate": {"parts": [{"from": "all", "by_age": [1, 0, 1, 0, 1]}]},
    "late": {"parts": [{"from": "real"}, {"from": "all", "by_age": [0, 1]}]},
    "pauses": {"parts": [{"from": "real"}, {"from": "all", "amount": [1, 0.5, 0]}]},
    "rescue": {"parts": [{"from": "fresh", "amount": 0.5}, {"from": "all", "amount": 0.5, "rows": "same"}]},
    "verified": {"parts": [{"from": "all", "filter": "trusted"}], "control": "random"},
}
BUILT_IN = ["replace", "accumulate", "replace-multiple", "accumulate-subsample", "real-multiple", "all-fresh"]


def plan(*names: str, iterations: int = 6) -> Plan:
    experiment = {"domain": "linear", "data": {"dimension": 2, "rows": 8, "reserve": 8}, "regimes": list(names)}
    filters = {"trusted": {"by": "oracle", "candidates": 2}} if "verified" in names else {}
    own = {name: table for name, table in REGIMES.items() if name in names}
    experiments = {"a": experiment | {"iterations": iterations, "seeds": [0]}}
    return plan_study({"experiments": experiments, "regimes": own, "filters": filters})


def inputs(study: Plan, model: Model) -> dict[str, Any]:
    return study.concatenate_input(SimpleNamespace(model=model.name))  # type: ignore[arg-type]


def files(named: dict[str, Any]) -> list[str]:
    return [file for value in named.values() for file in ([value] if isinstance(value, str) else value)]


def test_the_training_sets_of_accumulate_have_as_many_inputs_as_models() -> None:
    study = plan("accumulate", iterations=30)
    models = study.chains[0].models
    for model, before in zip(models[1:], models, strict=False):
        (part,) = (part.folder for part in study.parts.values() if part.model == before.name)
        assert inputs(study, model) == {"real": model.real("train"), "parts": [model.real("train"), part]}


@pytest.mark.parametrize("regime", [*BUILT_IN, *REGIMES])
def test_what_is_no_input_of_a_training_set_is_behind_one(regime: str) -> None:
    study = plan(regime)
    made_by = {part.folder: study.models[part.model] for part in study.parts.values()}
    made_by |= {score.file: study.models[score.part.model] for score in study.scores.values()}

    def behind(model: Model) -> set[str]:
        own = files(inputs(study, model))
        return set(own).union(*(behind(made_by[file]) for file in own if file in made_by))

    for model in study.models.values():
        sources = study.concatenate_sources(SimpleNamespace(model=model.name), None)  # type: ignore[arg-type]
        assert sources["parts"] == [folder for _, folder in model.takes]
        assert sources.get("scores", []) == [score.file for score in model.scores]
        assert set(files(sources)) <= behind(model)
        assert "deleted" not in inputs(study, model)


def part_of(study: Plan, model: Model) -> str:
    """The data set sampled from a model."""
    return study.chains[0].parts[model.iteration - 1][0].folder


@pytest.mark.parametrize("hiding", ["the newest part", "the checkpoint that samples it", "its training set"])
def test_deleted_parts_that_snakemake_would_not_come_to_are_inputs(
    hiding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second, third, newest, last = plan("accumulate", iterations=5).chains[0].models
    study = plan("accumulate", iterations=5)
    there = {
        "the newest part": part_of(study, newest),
        "the checkpoint that samples it": paths.checkpoint(newest.name),
        "its training set": paths.training_set(newest.name),
    }
    for folder in (last.real("train"), part_of(study, second), there[hiding]):
        Path(folder).mkdir(parents=True)
    assert inputs(study, last) == {
        "real": last.real("train"),
        "parts": [last.real("train"), part_of(study, newest)],
        "deleted": [part_of(study, first), part_of(study, third)],
    }
