"""Selecting rows from the tidy tables."""

import logging
import math
from pathlib import Path

import pandas as pd
import pytest

from selfloop.analysis.read import over_seeds, read_tidy, regimes_in_order, require, select
from selfloop.data.quantity import Quantity
from selfloop.data.tidy import CURVES, METRICS
from selfloop.errors import UserError


def test_an_empty_selection_says_what_was_looked_for_and_what_there_is(metrics, loss):
    with pytest.raises(UserError, match=r"cross_entropy \(split test\) in domain image; there is text \(gpt2\)"):
        require(metrics, "image", loss)
    with pytest.raises(UserError, match=r"elbo \(split test\) in domain text; .*: cross_entropy/test$"):
        require(metrics, "text", Quantity("elbo", "test", "ELBO"))
    with pytest.raises(UserError, match="the table has no rows"):
        require(metrics.head(0), "text", loss)
    assert select(metrics, "image", loss).empty


def test_a_measurement_listed_twice_is_an_error(metrics, loss):
    with pytest.raises(UserError, match=r"more than once for gpt2 replace temperature=1\.0 seed 0 iteration 1"):
        select(pd.concat([metrics, metrics.head(1)]), "text", loss)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_become_nan_and_are_named_in_the_log(metrics, loss, caplog, value):
    metrics.loc[2, "value"] = value
    with caplog.at_level(logging.WARNING):
        rows = select(metrics, "text", loss)
    assert rows["value"].isna().sum() == 1
    assert "1 of 30 values are not finite" in caplog.text
    assert "gpt2 replace temperature=1.0 seed 0 iteration 3" in caplog.text


def test_the_label_is_the_model_and_names_the_experiment_where_two_share_a_model(make_metrics, loss):
    three = pd.concat(
        [make_metrics(), make_metrics(experiment="gpt2-small-data"), make_metrics(experiment="llama", model="Llama")]
    )
    labels = list(select(three, "text", loss)["label"].unique())
    assert labels == ["GPT-2 (0.5M), gpt2", "GPT-2 (0.5M), gpt2-small-data", "Llama"]


def test_a_series_is_named_as_briefly_as_can_be(make_metrics, loss):
    both = pd.concat([make_metrics(), make_metrics(sampling="temperature=0.3"), make_metrics(experiment="other")])
    assert list(select(both, "text", loss)["series"].unique()) == [
        "GPT-2 (0.5M), gpt2, temperature=1.0",
        "GPT-2 (0.5M), gpt2, temperature=0.3",
        "GPT-2 (0.5M), other, temperature=1.0",
    ]
    assert set(select(make_metrics(), "text", loss)["series"]) == {"GPT-2 (0.5M)"}


def test_regimes_come_in_the_papers_order_and_then_by_name():
    names = ["zoo", "replace-multiple", "accumulate", "mine", "replace"]
    assert regimes_in_order(names) == ["replace", "accumulate", "replace-multiple", "mine", "zoo"]


def test_over_seeds_averages_parts_first_and_leaves_gaps():
    rows = pd.DataFrame(
        [(1, 0, 1.0), (1, 0, 3.0), (1, 1, 5.0), (1, 2, 8.0), (2, 0, math.nan), (2, 1, math.nan), (4, 1, 7.0)],
        columns=["iteration", "seed", "value"],
    )
    points = over_seeds(rows)
    assert list(points.index) == [1, 2, 3, 4]
    half = 4.3027 * 3.0 / math.sqrt(3)  # t(97.5%, 2 degrees of freedom); of 2, 5 and 8: not of the four rows
    assert list(points.loc[1]) == pytest.approx([5.0, 5.0 - half, 5.0 + half, 3], abs=1e-3)
    assert points.loc[[2, 3], ["mean", "low", "high"]].isna().all(axis=None)
    assert points.loc[4, "mean"] == 7.0
    assert points.loc[4, ["low", "high"]].isna().all()


def test_the_tables_open_and_a_missing_column_is_named(metrics, tmp_path: Path):
    path = tmp_path / "metrics.parquet"
    metrics.to_parquet(path)
    assert read_tidy(path, METRICS)["value"].tolist() == metrics["value"].tolist()
    with pytest.raises(UserError, match=r"metrics.parquet: no column step, epoch; the file has experiment"):
        read_tidy(path, CURVES)
