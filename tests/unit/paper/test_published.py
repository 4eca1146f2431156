"""The paper's values stand beside experiments of its setting, and no others."""

from pathlib import Path

import yaml

from selfloop.planning.rules import plan_study

PAPER = Path(__file__).parents[3] / "config/paper.yaml"


def test_the_default_study_has_none_of_the_paper_s_settings() -> None:
    study = plan_study(yaml.safe_load((PAPER.parent / "config.yaml").read_text()))
    assert all(domain["published"] == [] for domain in study.shows.report()["domains"])


def test_t_4_of_replace_stands_at_both_readings() -> None:
    study = plan_study(yaml.safe_load(PAPER.read_text()))
    (values,) = (domain["published"] for domain in study.shows.report()["domains"] if domain["name"] == "text")
    own = [(v["regime"], v["iteration"], v["value"]) for v in values if v["experiment"] == "tinystories-gpt2-9m"]
    assert own == [
        *((regime, 1, 1.82) for regime in ("replace", "accumulate", "replace-multiple")),
        *(("accumulate", 4, 1.74), ("replace", 4, 2.39), ("replace", 5, 2.39), ("replace", 10, 2.91)),
        ("replace-multiple", 4, 2.18),
    ]
