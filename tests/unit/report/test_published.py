"""The paper's values stand beside experiments of its setting, and no others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.plan import plan_study
from selfloop.report.published import TABLE_2, matching

PAPER = Path(__file__).parents[3] / "config/paper.yaml"


def entry(name: str) -> dict[str, Any]:
    checked: dict[str, Any] = plan_study(yaml.safe_load(PAPER.read_text())).checked["experiments"][name]
    return checked


def test_the_paper_s_study_has_every_row_of_its_table_once() -> None:
    experiments = plan_study(yaml.safe_load(PAPER.read_text())).checked["experiments"]
    text = [e for e in experiments.values() if e["domain"] == "text"]
    found = [matching(e, sampling) for e in text for sampling in e["sampling"]]
    titles = [row.title for row in found if row is not None]
    assert sorted(titles) == sorted(row.title for row in TABLE_2)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("data", {"fraction": 0.5}),
        ("data", {"rows": 1000}),
        ("data", {"name": "another/data-set"}),
        ("model", {"hidden_size": 512}),
        ("model", {"vocabulary": 4000}),
        ("training", {"epochs": 2.0}),
        ("sampling", {"temperature": 0.5}),
        ("sampling", {"top_p": 0.9}),
    ],
)
def test_another_setting_has_no_values_of_the_paper(section: str, change: dict[str, Any]) -> None:
    experiment = entry("tinystories-gpt2-9m")
    (sampling,) = experiment["sampling"]
    row = matching(experiment, sampling)
    assert row is not None and row.title == "GPT-2 (9M)"
    if section == "sampling":
        sampling = sampling | change
    else:
        experiment = experiment | {section: experiment[section] | change}
    assert matching(experiment, sampling) is None


def test_the_default_study_has_none_of_the_paper_s_settings() -> None:
    study = plan_study(yaml.safe_load((PAPER.parent / "config.yaml").read_text()))
    assert all(study.published(domain) == [] for domain in study.domains)


def test_t_4_of_replace_stands_at_both_readings() -> None:
    study = plan_study(yaml.safe_load(PAPER.read_text()))
    values = study.published(study.domain("text"))
    own = [(v["regime"], v["iteration"], v["value"]) for v in values if v["experiment"] == "tinystories-gpt2-9m"]
    assert own == [
        *((regime, 1, 1.82) for regime in ("replace", "accumulate", "replace-multiple")),
        *(("accumulate", 4, 1.74), ("replace", 4, 2.39), ("replace", 5, 2.39), ("replace", 10, 2.91)),
        ("replace-multiple", 4, 2.18),
    ]
