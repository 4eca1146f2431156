"""Which experiments the paper's Table 2 has a row for, and its values beside ours."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from selfloop.data.quantity import Quantity
from selfloop.domains.text.domain import DOMAIN
from selfloop.paper.published import comparisons
from selfloop.paper.table2 import COLUMNS, ROWS, paper_row
from selfloop.paper.write_paper import comparison, page
from selfloop.planning.check import check

LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token")
PAPER = yaml.safe_load((Path(__file__).parents[3] / "config" / "paper.yaml").read_text(encoding="utf-8"))


def rows_of(study: dict[str, Any]) -> dict[str, str | None]:
    """The row of Table 2 of each text experiment, by the analysis that the paper adds."""
    entries = check(study).experiments
    (analysis,) = comparisons(DOMAIN, {name: e for name, e in entries.items() if e.domain == "text"})
    assert analysis.tables == ("paper",)
    return {asked["experiment"]: asked["row"] for asked in analysis.asked}


def test_the_papers_study_has_every_row_of_table_2() -> None:
    assert rows_of(PAPER) == {
        "tinystories-gpt2-9m": "GPT-2 (9M)",
        "tinystories-gpt2-9m-cold": "GPT-2 (9M) (temp=0.3)",
        "tinystories-gpt2-9m-fifth": "GPT-2 (9M) (small dataset)",
        "tinystories-gpt2-9m-fifth-3-epochs": "ibid (+ 3 epochs)",
        "tinystories-gpt2-9m-first-half-epoch": None,
        "tinystories-gpt2-9m-first-2-epochs": None,
        "tinystories-gpt2-9m-first-3-epochs": None,
        "tinystories-llama-12m": "Llama-2 (12M)",
        "tinystories-llama-42m": "Llama-2 (42M)",
        "tinystories-llama-126m": "Llama-2 (126M)",
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry["model"].update(hidden_size=128),
        lambda entry: entry["model"].update(vocabulary=7999),
        lambda entry: entry["model"].update(context=1024),
        lambda entry: entry["training"].update(epochs=2),
        lambda entry: entry["training"].update(first_iteration={"epochs": 2}),
        lambda entry: entry["data"].update(fraction=0.5),
        lambda entry: entry["data"].update(rows=1000),
        lambda entry: entry["data"].update(min_characters=3000),
        lambda entry: entry["data"].update(name="somebody/OtherStories"),
        lambda entry: entry.update(sampling=[{"temperature": 0.5}]),
        lambda entry: entry.update(sampling=[{"top_k": 10}]),
        lambda entry: entry.update(sampling=[{"max_length": 20}]),
        lambda entry: entry.update(sampling=[{"top_p": 0.9}]),
    ],
)
def test_an_experiment_with_another_setting_has_no_row(change: Callable[[dict[str, Any]], None]) -> None:
    entry = copy.deepcopy(PAPER["experiments"]["tinystories-gpt2-9m"])
    assert rows_of({"experiments": {"mine": entry}}) == {"mine": "GPT-2 (9M)"}
    change(entry)
    assert rows_of({"experiments": {"mine": entry}}) == {"mine": None}


def test_what_the_paper_leaves_open_may_differ() -> None:
    entry = copy.deepcopy(PAPER["experiments"]["tinystories-gpt2-9m"])
    entry["model"]["heads"] = 8
    entry["training"].update(batch_size=64, learning_rate=1.0e-3)
    entry["data"].update(name="a-mirror/tinystories", fraction=1.0)
    entry["sampling"] = [{"prompt": "begin-of-text", "top_p": 1.0}]
    assert rows_of({"experiments": {"mine": entry}}) == {"mine": "GPT-2 (9M)"}


def test_every_row_has_its_first_columns() -> None:
    counts = [5, 4, 5, 3, 3, 3, 3]
    assert [len(row.values) for row in ROWS] == counts
    assert paper_row.__doc__


def metrics(experiment: str, values: dict[str, list[float]]) -> pd.DataFrame:
    """Two seeds, of which seed 1 lies 0.2 above seed 0."""
    place = {"experiment": experiment, "domain": "text", "model": "GPT-2 (9M)", "sampling": "temperature=1.0"}
    rows = [
        place | {"regime": regime, "seed": seed, "iteration": t + 1, "part": None, "split": "test"}
        | {"metric": "cross_entropy", "value": value + 0.2 * seed}
        for regime, losses in values.items()
        for seed in (0, 1)
        for t, value in enumerate(losses)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def table() -> pd.DataFrame:
    """An experiment with a row in Table 2, and one without."""
    frames = [
        metrics("mine", {"replace": [1.8, 2.0, 2.2, 2.3, 2.4], "accumulate": [1.8, 1.8, 1.7, 1.7]}),
        metrics("other", {"replace": [3.0, 3.5]}),
    ]
    asked = [
        {"experiment": "mine", "sampling": "temperature=1.0", "row": "GPT-2 (9M)"},
        {"experiment": "other", "sampling": "temperature=1.0", "row": None},
    ]
    return comparison(pd.concat(frames), "text", LOSS, asked)


def test_our_means_stand_beside_the_papers_values(table: pd.DataFrame) -> None:
    mine = table[table["experiment"] == "mine"]
    assert mine["column"].tolist() == [column.heading for column in COLUMNS]
    assert mine["reading"].fillna("").tolist() == [column.reading for column in COLUMNS]
    nan = math.nan
    assert mine["ours"].tolist() == pytest.approx([1.9, 1.8, 2.4, 2.5, nan, nan], nan_ok=True)
    assert mine["paper"].tolist() == [1.82, 1.74, 2.39, 2.39, 2.91, 2.18]
    assert mine["seeds"].tolist() == [2, 2, 2, 2, 0, 0]
    assert mine["ours_change"].tolist() == pytest.approx([0, -0.1, 0.5, 0.6, nan, nan], nan_ok=True)
    assert mine["paper_change"].tolist() == pytest.approx([0, -0.08, 0.57, 0.57, 1.09, 0.36])


def test_an_experiment_without_a_counterpart_has_no_papers_value(table: pd.DataFrame) -> None:
    other = table[table["experiment"] == "other"]
    assert other["ours"].tolist()[0] == pytest.approx(3.1)
    assert other["paper"].isna().all()


def test_the_page_reads_side_by_side(table: pd.DataFrame) -> None:
    shown = page(table, LOSS)
    headings, (mine, other) = shown.headings, shown.rows
    assert headings[4:6] == ["t=1: ours", "paper"]
    assert headings[8::2][:2] == ["t=4 (repl), as 4th fit: ours", "t=4 (repl), as 5th fit: ours"]
    assert mine[3:] == [
        *("GPT-2 (9M)", "1.90", "1.82", "1.80 (-0.10)", "1.74 (-0.08)"),
        *("2.40 (+0.50)", "2.39 (+0.57)", "2.50 (+0.60)", "2.39 (+0.57)"),
        *("n/a", "2.91 (+1.09)", "n/a", "2.18 (+0.36)"),
    ]
    assert other[3:] == ["", "3.10", "", *["n/a", ""] * 5]
    assert "without a counterpart in this study: GPT-2 (9M) (temp=0.3), GPT-2 (9M) (small dataset)" in shown.notes[-1]
