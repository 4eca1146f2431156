"""The numbers in the tables, and that a sample can do no harm in them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfloop.analysis.markdown import escaped
from selfloop.analysis.tables import (
    chains_markdown,
    chains_table,
    headline_markdown,
    headline_table,
    samples_markdown,
    samples_table,
    write_table,
)
from selfloop.analysis.trends import mean_interval, slope, t_quantile
from selfloop.errors import UserError


def cells(markdown: str) -> list[list[str]]:
    """Rows of the table in a Markdown page, headings first, the rule left out."""
    rows = [line.strip("|").split("|") for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith(" ---")]


def test_headline_table_holds_iteration_1_the_4th_the_last_and_both_readings_of_replace(metrics, loss):
    table = headline_table(metrics, "text", loss).set_index("column")
    assert list(table.index) == [
        "t=1",
        *("t=4 replace", "t=5 replace"),
        *("t=4 accumulate", "t=5 accumulate"),
        *("t=4 replace-multiple", "t=5 replace-multiple"),
    ]
    np.testing.assert_allclose(table["mean"], [2.1, 3.6, 4.1, 1.9, 1.9, 2.7, 2.9])
    np.testing.assert_allclose(table["sd"], 0.2 / math.sqrt(2))
    np.testing.assert_allclose(table["difference"], [0, 1.5, 2.0, -0.2, -0.2, 0.6, 0.8])
    assert set(table["seeds"]) == {2}


def test_headline_markdown_reads_like_table_2(metrics, loss):
    markdown = headline_markdown(headline_table(metrics, "text", loss), loss, "Losses")
    headings, row = cells(markdown)
    shown = dict(zip(headings, row, strict=True))
    assert markdown.startswith("# Losses\n\n|")
    assert shown["t=1"] == "2.100 ± 0.141"
    assert shown["t=4 replace (paper's t=4 counted from 1)"] == "3.600 ± 0.141 (+1.500)"
    assert shown["t=5 replace (paper's t=4 counted from 0)"] == "4.100 ± 0.141 (+2.000)"
    assert shown["t=4 accumulate"] == "1.900 ± 0.141 (-0.200)"
    assert "nats per token" in markdown


def test_headline_with_one_seed_has_no_spread_and_marks_what_was_not_run(make_metrics, loss):
    short = make_metrics(seeds=1, iterations=3, regimes=("replace",), experiment="llama", model="Llama")
    table = headline_table(pd.concat([make_metrics(seeds=1), short]), "text", loss)
    headings, gpt, llama = cells(headline_markdown(table, loss))
    place = headings.index("t=5 accumulate")
    assert (gpt[place], llama[place]) == ("1.800 (-0.200)", "n/a")
    assert llama[headings.index("t=3 replace")] == "3.000 (+1.000)"


def test_headline_without_a_finite_value_says_nan(make_metrics, loss):
    metrics = make_metrics(seeds=1, iterations=4, regimes=("replace",))
    metrics.loc[3, "value"] = math.inf
    headings, row = cells(headline_markdown(headline_table(metrics, "text", loss), loss))
    assert row[headings.index("t=4 replace (paper's t=4 counted from 1)")] == "NaN"


def test_headline_difference_compares_each_seed_with_itself(make_metrics, loss):
    metrics = make_metrics(regimes=("replace",), iterations=4)
    unfinished = metrics[~((metrics["seed"] == 1) & (metrics["iteration"] == 4))]
    last = headline_table(unfinished, "text", loss).iloc[-1]
    assert (last["seeds"], last["mean"], last["difference"]) == (1, 3.5, 1.5)


def test_headline_of_one_iteration_has_one_column(make_metrics, loss):
    table = headline_table(make_metrics(iterations=1), "text", loss)
    assert list(table["column"]) == ["t=1"]


def test_chains_give_the_slope_with_its_interval_and_the_spread_of_seeds(metrics, loss):
    metrics.loc[(metrics["seed"] == 1) & (metrics["regime"] == "replace"), "value"] = [2.2, 2.9, 3.6, 4.3, 5.0]
    row = chains_table(metrics, "text", loss).iloc[0]
    assert (row["regime"], row["seeds"], row["iterations"]) == ("replace", 2, 5)
    # slopes 0.5 and 0.7: half the interval is t(0.975, 1) * sd / sqrt(2) = 12.7062 * 0.1
    np.testing.assert_allclose(
        row[["slope", "slope_low", "slope_high"]].astype(float), [0.6, 0.6 - 1.27062, 0.6 + 1.27062], atol=1e-5
    )
    np.testing.assert_allclose([row["first"], row["last"], row["spread_first"], row["spread_last"]], [2.1, 4.5, 0.2, 1])


def test_chains_leave_blank_what_one_seed_or_one_iteration_cannot_say(make_metrics, loss):
    headings, row = cells(
        chains_markdown(chains_table(make_metrics(seeds=1, regimes=("replace",)), "text", loss), loss)
    )
    shown = dict(zip(headings, row, strict=True))
    assert (shown["Slope"], shown["95% interval"], shown["Spread last"]) == ("+0.500", "", "")
    table = chains_table(make_metrics(iterations=1, regimes=("replace",)), "text", loss)
    shown = dict(zip(*cells(chains_markdown(table, loss)), strict=True))
    assert (shown["Seeds"], shown["Slope"], shown["95% interval"], shown["Spread first"]) == ("2", "", "", "0.200")


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (9, 2.26216), (100, 1.98397)]
)
def test_t_quantiles_agree_with_the_printed_tables(freedom, expected):
    assert t_quantile(0.95, freedom) == pytest.approx(expected, abs=1e-5)


def test_a_slope_leaves_out_nan_and_needs_two_iterations():
    assert slope(pd.Series([1, 2, 3]), pd.Series([1.0, math.nan, 2.0])) == pytest.approx(0.5)
    assert math.isnan(slope(pd.Series([1, 2]), pd.Series([1.0, math.nan])))


def test_one_value_has_a_mean_but_no_interval():
    mean, low, high = mean_interval(pd.Series([3.0, math.nan]))
    assert mean == 3.0
    assert math.isnan(low) and math.isnan(high)


def test_samples_are_ordered_and_cut_to_length():
    rows = [
        ("B", "accumulate", "temperature=1.0", 0, 2, "x" * 30),
        ("B", "replace", "temperature=1.0", 0, 10, "ten"),
        ("B", "replace", "temperature=1.0", 0, 2, "  two\n"),
        ("A", "replace", "temperature=1.0", 0, 1, "one"),
    ]
    table = samples_table(rows, characters=10)
    assert table["text"].tolist() == ["two", "ten", "xxxxxxxxx…", "one"]
    assert table["iteration"].tolist() == [2, 10, 2, 1]
    assert list(table.columns) == ["model", "regime", "sampling", "iteration", "seed", "text"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a & b &lt;", "a &amp; b &amp;lt;"),
        ("one | two", "one &#124; two"),
        ("`code`", "&#96;code&#96;"),
        ("one\n\n two\r\nthree\u2028four", "one / two / three / four"),
        ("![x](http://evil)", "!&#91;x&#93;(http&#58;//evil)"),
        ("*a* _b_ snake_case", "&#42;a&#42; &#95;b&#95; snake_case"),
        ("back\\slash $x$ ~y~", "back&#92;slash &#36;x&#36; &#126;y&#126;"),
        ("nul\0 bell\a \u202eturned \ud800", "nul\ufffd bell\ufffd \ufffdturned \ufffd"),
        ("www.x.org me@x.org", "www&#46;x.org me&#64;x.org"),
        ("He said: don't! (Really?) — “yes”", "He said: don't! (Really?) — “yes”"),
    ],
)
def test_nothing_in_a_sample_acts_as_markdown_or_html(text, shown):
    assert escaped(text) == shown
    markdown = samples_markdown(samples_table([("m", "replace", "t", 0, 1, text)]))
    assert cells(markdown)[1] == ["m", "replace", "t", "1", "0", shown]


def test_a_name_from_the_config_cannot_break_a_table_either(make_metrics, loss):
    metrics = make_metrics(regimes=("replace",), model="a|b <i>").assign(regime="x|y")
    headings, row = cells(headline_markdown(headline_table(metrics, "text", loss), loss, "<b>"))
    assert len(headings) == len(row)
    assert row[1] == "a&#124;b &lt;i&gt;"
    assert headings[-1] == "t=5 x&#124;y"


def test_written_tables_read_back_equal(metrics, loss, tmp_path: Path):
    metrics["value"] += 1 / 3
    table = headline_table(metrics, "text", loss)
    paths = write_table(table, "page ü\n", tmp_path / "tables" / "text.v1")
    assert [path.name for path in paths] == ["text.v1.csv", "text.v1.md"]
    assert pd.read_csv(paths[0])["mean"].tolist() == table["mean"].tolist()
    assert paths[1].read_bytes() == "page ü\n".encode()


def test_no_sample_at_all_is_an_error():
    with pytest.raises(UserError, match="no sample to show"):
        samples_table([])


def test_samples_survive_the_csv_unescaped(tmp_path: Path):
    table = samples_table([("m", "replace", "t", 0, 1, 'a, "b"\n<c> | d\ud800')])
    csv, _ = write_table(table, samples_markdown(table), tmp_path / "samples")
    assert pd.read_csv(csv)["text"].tolist() == ['a, "b"\n<c> | d\ufffd']
