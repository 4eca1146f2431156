"""What editors and readers are told of configs is what the sections declare."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from selfloop.domains.protocol import domain_names
from selfloop.operations.schema import json_schema, with_tables

ROOT = Path(__file__).parents[3]
README = ROOT / "config/README.md"
SCHEMA = ROOT / "config/schema.json"
STUDIES = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/studies/*.yaml")])
STUDIES = [path for path in STUDIES if path.name != "resources.yaml"]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def load(path: Path) -> dict[str, Any]:
    study: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return study


def test_the_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == json_schema(), "run `selfloop schema`"


def test_the_tables_of_the_readme_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_tables(text), "run `selfloop schema --readme config/README.md`"
    for domain in domain_names():
        assert f"<!-- table: {domain}.data -->" in text


def test_a_stale_table_is_printed_anew_and_an_unknown_one_is_refused() -> None:
    text = README.read_text(encoding="utf-8")
    stale = text.replace("| `batch_size` | 32 |", "| `batch_size` | 16 |")
    assert stale != text
    assert with_tables(stale) == text
    with pytest.raises(KeyError):
        with_tables("<!-- table: text.date -->\n<!-- end -->")


def test_a_domain_that_the_readme_lacks_gets_a_chapter_with_its_tables() -> None:
    """So adding a domain leaves no tables to be written by hand."""
    text = README.read_text(encoding="utf-8")
    start, end = text.index("### `data`\n\n<!-- table: linear.data -->"), text.index("### `simulation`")
    without = text[: text.index("## Domain `linear`")].replace("linear.", "")
    printed = with_tables(without)
    assert printed.startswith(without)
    assert "\n## Domain `linear`\n\nLinear regression.\n" in printed
    assert text[start:end] in printed
    assert with_tables(printed) == printed


@pytest.mark.parametrize("path", STUDIES, ids=[path.name for path in STUDIES])
def test_every_study_here_is_right_by_the_schema(path: Path, validator: Draft202012Validator) -> None:
    validator.validate(load(path))


@pytest.mark.parametrize("path", [path for path in STUDIES if path.parent.name == "config"], ids=lambda path: path.name)
def test_editors_find_the_schema(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


WRONG: dict[str, tuple[str, Any]] = {
    "a misspelt key": ("training", {"batch_sise": 8}),
    "a number that YAML reads as a string": ("training", {"learning_rate": "5e-4"}),
    "a number out of range": ("training", {"epochs": 0}),
    "an unknown domain": ("domain", "txt"),
    "a source without what it needs": ("data", {"source": "files"}),
    "a section without a required key": ("model", {"layers": 2}),
    "an integer that is none": ("iterations", 2.5),
    "a seed twice": ("seeds", [0, 0]),
}


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_is_wrong_by_the_schema(change: str, validator: Draft202012Validator) -> None:
    study = load(ROOT / "tests/studies/chaos.yaml")
    assert validator.is_valid(study)
    wrong = copy.deepcopy(study)
    key, value = WRONG[change]
    wrong["experiments"]["chaos"][key] = value
    assert not validator.is_valid(wrong)


def test_an_experiment_that_is_like_another_says_what_is_different_alone(validator: Draft202012Validator) -> None:
    study = load(ROOT / "tests/studies/chaos.yaml")
    study["experiments"]["other"] = {"like": "chaos", "data": {"rows": 5}}
    validator.validate(study)
    study["experiments"]["other"]["data"] = {"row": 5}
    assert not validator.is_valid(study)
