"""What a study shows: which artifacts an analysis reads, and which figures may be given a title."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.config.load import read
from selfloop.domains.protocol import Analysis
from selfloop.jobs.steps import step_module
from selfloop.planning.rules import Plan, plan_study
from selfloop.planning.shown import Shown
from selfloop.report import write_profile, write_report
from selfloop.report.places import CAPTIONS

ROOT = Path(__file__).resolve().parents[3]

CONFIG: dict[str, Any] = {
    "experiments": {
        "a": {
            "domain": "text",
            "data": {"source": "packaged", "name": "shakespeare", "rows": 100},
            "model": {"architecture": "gpt2", "hidden_size": 16, "layers": 1, "heads": 2, "context": 32},
            "training": {"batch_size": 8},
            "regimes": ["replace", "accumulate"],
            "iterations": 2,
            "seeds": [0, 1],
        },
        "other": {
            "domain": "linear",
            "data": {"dimension": 2, "rows": 8},
            "regimes": ["replace"],
            "iterations": 1,
            "seeds": [0],
        },
    }
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of two regimes of two iterations and two seeds, beside an experiment of another domain."""
    return plan_study(CONFIG)


def shown(plan: Plan, analysis: Analysis) -> Shown:
    """What the plan hands to an analysis of the domain text."""
    return Shown("rule", domain := plan.domain("text"), analysis, plan.shows.chosen(domain, analysis), {}, "code")


def test_an_analysis_of_the_metrics_reads_no_artifact(plan: Plan) -> None:
    assert shown(plan, Analysis("step")).artifact_files == []


def test_an_analysis_reads_what_it_has_chosen_of_its_own_domain_and_is_told_where_it_belongs(plan: Plan) -> None:
    last = Analysis(
        "step",
        reads=("checkpoint", "test"),
        chosen=lambda rows: [row for row in rows if row["iteration"] == 2 and row["seed"] == 1],
    )
    found = shown(plan, last)
    rows = found.params["artifacts"]
    assert [(row["experiment"], row["regime"], row["seed"], row["iteration"]) for row in rows] == [
        ("a", "replace", 1, 2),
        ("a", "accumulate", 1, 2),
    ]
    assert all({"checkpoint", "test"} <= set(row) and not {"part", "train"} & set(row) for row in rows)
    chain = next(c for c in plan.chains if (c.regime, c.seed) == ("replace", 1))
    assert rows[0]["checkpoint"] == f"results/models/{chain.models[1].name}/checkpoint"
    # Two checkpoints, and the test split that both have in common.
    assert found.artifact_files == [
        rows[0]["checkpoint"],
        rows[0]["test"],
        rows[1]["checkpoint"],
    ]


def test_an_artifact_that_chains_share_is_one_input(plan: Plan) -> None:
    found = shown(plan, Analysis("step", reads=("part",)))
    rows, files = found.artifacts, found.artifact_files
    assert len(rows) == 2 * 2 * 2
    assert len(files) == 2 * (1 + 2)
    assert set(files) == {part.folder for part in plan.parts.values() if part.index == 0 and "gpt2" in part.model}


def test_a_title_is_given_to_a_figure_that_the_study_makes() -> None:
    allowed = "text-headline, text-learning-curves, text-synthetic, text-profile, text-perplexity, text-bands, "
    allowed += "linear-headline, linear-synthetic, linear-profile"
    entitled = plan_study({**CONFIG, "figures": {"titles": dict.fromkeys(allowed.split(", "), "Mine")}})
    assert {title for entry in entitled.shows.entries for title in entry.titles.values()} == {"Mine"}
    for name, hint in (("linear-headlin", "; did you mean 'linear-headline'?"), ("image-grid", ".")):
        with pytest.raises(SystemExit) as stopped:
            plan_study({**CONFIG, "figures": {"titles": {name: "Mine"}}})
        assert str(stopped.value) == f"selfloop: figures.titles: unknown figure '{name}'{hint} Allowed: {allowed}."


def test_a_domain_s_own_figures_may_be_given_titles_where_the_study_makes_them() -> None:
    simulated = {**CONFIG["experiments"]["other"], "simulation": {"theory": []}}
    titles = {"linear-spread": "Mine", "linear-theory-log": "Mine"}
    entries = plan_study({"experiments": {"other": simulated}, "figures": {"titles": titles}}).shows.entries
    assert {name for entry in entries for name, title in entry.titles.items() if title} == {"spread", "theory-log"}
    with pytest.raises(SystemExit, match="unknown figure 'linear-spread'"):
        plan_study({**CONFIG, "figures": {"titles": titles}})


STUDIES = Path(__file__).parents[3] / "tests/studies"


@pytest.mark.parametrize("study", ["tiny", "linear", "faces", "molecule"])
def test_every_step_that_shows_something_has_what_the_page_calls(study: str) -> None:
    for entry in plan_study(yaml.safe_load((STUDIES / f"{study}.yaml").read_text(encoding="utf-8"))).shows.entries:
        step = importlib.import_module(step_module(entry.rule, entry.domain.name))
        if entry.tidy is not None:
            assert callable(step.draw), entry.rule
            step.Params.model_validate(entry.params)
        if entry.analysis.tables:
            assert set(step.READABLE) == set(entry.analysis.tables), entry.rule
        assert (CAPTIONS / entry.caption).is_file()


def test_the_page_is_told_which_regimes_are_controls_a_users_own_among_them() -> None:
    table = {"parts": [{"from": "real", "amount": 2}, {"from": "previous", "amount": 0}]}
    entry = {"domain": "linear", "data": {"dimension": 2, "rows": 8}, "iterations": 2, "seeds": [0]}
    config = {"experiments": {"a": {**entry, "regimes": ["replace", "twice", "real"]}}, "regimes": {"twice": table}}
    assert plan_study(config).shows.report()["controls"] == ["real", "twice"]


@pytest.mark.parametrize(
    "name",
    ["config/config.yaml", "config/paper.yaml", "config/curation.yaml", "config/ridge.yaml", "tests/studies/laws.yaml"],
)
def test_what_a_step_is_told_is_what_it_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shows = plan_study(read(ROOT / name)).shows
    for entry in shows.entries:
        step = importlib.import_module(step_module(entry.rule, entry.domain.name))
        told = json.loads(json.dumps(entry.params))  # as Snakemake hands it on
        assert step.Params.model_validate(told).domain == entry.domain.name
    told = json.loads(json.dumps({"report": shows.report(), "profile": shows.profiled()}))
    assert write_report.Params.model_validate({"study": told["report"]}).study.headlines.keys() == {
        domain.name for domain in shows.study.domains
    }
    assert len(write_profile.Params.model_validate({"study": told["profile"]}).study) == len(shows.study.domains)
