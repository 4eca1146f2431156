"""The numbers in the tables, and that a sample can do no harm in them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfloop.analysis.show import Artifact
from selfloop.analysis.table import Table, escaped, read_table, save_table
from selfloop.analysis.write_tables import headline_page, headline_table, trend_page, trend_table
from selfloop.data.quantity import Quantity
from selfloop.data.shards import ShardWriter
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.steps import write_samples
from selfloop.domains.text.steps.write_samples import samples_page, samples_table
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.statistics import estimates

from .conftest import LOSS


def cells(table: Table) -> list[list[str]]:
    """Rows of a table to read, headings first."""
    return [list(row) for row in (table.headings, *table.rows)]


def written(table: pd.DataFrame, quantity: Quantity, target: Path) -> Path:
    """A table as the step that makes it writes it, as CSV and as Markdown; the path has no suffix."""
    shown = samples_page(table, quantity) if "text" in table else headline_page(table, quantity)
    save_table(table, shown, [Path(f"{target}.csv"), Path(f"{target}.md")])
    return target


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
    shown_table = headline_page(headline_table(metrics, "text", loss), loss)
    headings, row = cells(shown_table)
    shown = dict(zip(headings, row, strict=True))
    assert shown["t=1"] == "2.100 ± 0.141"
    assert shown["t=4 replace (paper's t=4 counted from 1)"] == "3.600 ± 0.141 (+1.500)"
    assert shown["t=5 replace (paper's t=4 counted from 0)"] == "4.100 ± 0.141 (+2.000)"
    assert shown["t=4 accumulate"] == "1.900 ± 0.141 (-0.200)"
    assert "nats per token" in shown_table.notes[0]


def test_headline_with_one_seed_has_no_spread_and_marks_what_was_not_run(make_metrics, loss):
    short = make_metrics(seeds=1, iterations=3, regimes=("replace",), experiment="llama", model="Llama")
    table = headline_table(pd.concat([make_metrics(seeds=1), short]), "text", loss)
    headings, gpt, llama = cells(headline_page(table, loss))
    place = headings.index("t=5 accumulate")
    assert (gpt[place], llama[place]) == ("1.800 (-0.200)", "n/a")
    assert llama[headings.index("t=3 replace")] == "3.000 (+1.000)"


def test_headline_without_a_finite_value_says_nan(make_metrics, loss):
    metrics = make_metrics(seeds=1, iterations=4, regimes=("replace",))
    metrics.loc[3, "value"] = math.inf
    headings, row = cells(headline_page(headline_table(metrics, "text", loss), loss))
    assert row[headings.index("t=4 replace (paper's t=4 counted from 1)")] == "NaN"


def test_headline_difference_compares_each_seed_with_itself(make_metrics, loss):
    metrics = make_metrics(regimes=("replace",), iterations=4)
    unfinished = metrics[~((metrics["seed"] == 1) & (metrics["iteration"] == 4))]
    last = headline_table(unfinished, "text", loss).iloc[-1]
    assert (last["seeds"], last["mean"], last["difference"]) == (1, 3.5, 1.5)


def test_headline_of_one_iteration_has_one_column(make_metrics, loss):
    table = headline_table(make_metrics(iterations=1), "text", loss)
    assert list(table["column"]) == ["t=1"]


def test_trends_give_the_slope_with_its_interval_and_the_spread_of_seeds(metrics, loss):
    metrics.loc[(metrics["seed"] == 1) & (metrics["regime"] == "replace"), "value"] = [2.2, 2.9, 3.6, 4.3, 5.0]
    row = trend_table(metrics, "text", loss).iloc[0]
    assert (row["regime"], row["seeds"], row["iterations"]) == ("replace", 2, 5)
    # slopes 0.5 and 0.7: half the interval is t(0.975, 1) * sd / sqrt(2) = 12.7062 * 0.1
    np.testing.assert_allclose(
        row[["slope", "slope_low", "slope_high"]].astype(float), [0.6, 0.6 - 1.27062, 0.6 + 1.27062], atol=1e-5
    )
    np.testing.assert_allclose([row["first"], row["last"], row["spread_first"], row["spread_last"]], [2.1, 4.5, 0.2, 1])


def test_trends_leave_blank_what_one_seed_or_one_iteration_cannot_say(make_metrics, loss):
    headings, row = cells(trend_page(trend_table(make_metrics(seeds=1, regimes=("replace",)), "text", loss), loss))
    shown = dict(zip(headings, row, strict=True))
    assert (shown["Slope"], shown["95% interval"], shown["Spread last"]) == ("+0.500", "", "")
    table = trend_table(make_metrics(iterations=1, regimes=("replace",)), "text", loss)
    shown = dict(zip(*cells(trend_page(table, loss)), strict=True))
    assert (shown["Seeds"], shown["Slope"], shown["95% interval"], shown["Spread first"]) == ("2", "", "", "0.200")


def test_a_slope_leaves_out_nan_and_needs_two_iterations():
    assert estimates.slope(pd.Series([1, 2, 3]), pd.Series([1.0, math.nan, 2.0])) == pytest.approx(0.5)
    assert math.isnan(estimates.slope(pd.Series([1, 2]), pd.Series([1.0, math.nan])))


def test_samples_are_ordered_and_cut_to_length():
    rows = [
        ("B", "accumulate", "temperature=1.0", 2, 0, "x" * 30),
        ("B", "replace", "temperature=1.0", 10, 0, "ten"),
        ("B", "replace", "temperature=1.0", 2, 0, "  two\n"),
        ("A", "replace", "temperature=1.0", 1, 0, "one"),
    ]
    table = samples_table(rows, characters=10)
    assert table["text"].tolist() == ["two", "ten", "xxxxxxxxx…", "one"]
    assert table["iteration"].tolist() == [2, 10, 2, 1]
    assert list(table.columns) == ["model", "regime", "sampling", "iteration", "seed", "text"]


def test_samples_of_one_model_in_two_experiments_are_told_apart(tmp_path: Path, loss: Quantity):
    of = {"regime": "replace", "sampling": "temperature=1.0", "seed": 0, "iteration": 2}
    chains = [("tuned", "GPT-2"), ("lora", "GPT-2"), ("llama", "Llama")]
    for experiment, _ in chains:
        (tmp_path / experiment).mkdir()
        with ShardWriter(tmp_path / experiment, SCHEMA) as writer:
            writer.append({"text": "words", "input_ids": [0], "iteration": 2, "part": 0, "row": 0})
    artifacts = [Artifact(experiment=e, model=m, part=str(tmp_path / e), **of) for e, m in chains]
    cut = write_samples.Cut(samples_per_model=1, sample_characters=10)
    params = write_samples.Params(domain="text", headline=loss, asked=cut, artifacts=artifacts, titles={})
    write_samples.run(Job({}, {"tables": [str(tmp_path / "text-samples.csv")]}, params))
    assert read_table(tmp_path / "text-samples.csv")["model"].tolist() == ["GPT-2, tuned", "GPT-2, lora", "Llama"]


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
    table = samples_page(samples_table([("m", "replace", "t", 1, 0, text)]), LOSS)
    assert table.markdown().splitlines()[2].strip("| ").split(" | ")[-1].strip() == shown


def test_a_name_from_the_config_cannot_break_a_table_either(make_metrics, loss):
    metrics = make_metrics(regimes=("replace",), model="a|b <i>").assign(regime="x|y")
    text = headline_page(headline_table(metrics, "text", loss), loss).markdown()
    headings, _, row = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[:3]]
    assert len(headings) == len(row)
    assert row[1] == "a&#124;b &lt;i&gt;"
    assert headings[-1] == "t=5 x&#124;y"


def test_written_tables_read_back_equal(metrics, loss, tmp_path: Path):
    metrics["value"] += 1 / 3
    table = headline_table(metrics, "text", loss)
    table["model"] = ["NA", "007", "ü", "1e3", "nan", "None", "x"]
    target = written(table, loss, tmp_path / "tables/text-headline")
    read = read_table(target.with_suffix(".csv"))
    assert read.to_dict("list") == table.where(table.notna(), None).to_dict("list")
    assert target.with_suffix(".md").read_text(encoding="utf-8") == headline_page(table, loss).markdown()


def test_no_sample_at_all_is_an_error():
    with pytest.raises(UserError, match="no sample to show"):
        samples_table([])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1.5", "@SUM(A1)", "'=1+1", "''-", "'tis", "a=b", "\uff1d1"])
def test_no_sample_is_a_formula_in_a_spreadsheet_and_all_read_back_equal(tmp_path: Path, text: str, loss: Quantity):
    table = samples_table([("m", "replace", "temperature=1.0", 1, 0, text)])
    target = written(table, loss, tmp_path / "samples")
    cell = target.with_suffix(".csv").read_text(encoding="utf-8").splitlines()[1].split(",")[-1]
    formula = text.lstrip("'")[0] in "=+-@\uff1d"
    assert cell == (f"'{text}" if formula else text)
    assert read_table(target.with_suffix(".csv"))["text"].tolist() == [text]
    assert ("begins with =, +, - or @" in target.with_suffix(".md").read_text(encoding="utf-8")) == formula


def test_a_negative_number_stays_a_number_in_the_csv(metrics, loss, tmp_path: Path):
    target = written(headline_table(metrics, "text", loss), loss, tmp_path / "headline")
    assert (pd.read_csv(target.with_suffix(".csv"))["difference"] < 0).any()


def test_samples_survive_the_csv_unescaped(tmp_path: Path):
    table = samples_table([("m", "replace", "t", 1, 0, 'a, "b"\n<c> | d\ud800')])
    target = written(table, LOSS, tmp_path / "text-samples")
    assert read_table(target.with_suffix(".csv"))["text"].tolist() == ['a, "b"\n<c> | d\ufffd']
