"""What the figures draw, and that they are written with the same bytes each time."""

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from selfloop.analysis.figures import INTERVAL, SEEDS, headline_figure, synthetic_figure
from selfloop.analysis.plot_grid import grid_figure
from selfloop.analysis.plot_learning_curves import learning_figure
from selfloop.analysis.style import regime_marks, save
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN
from selfloop.errors import UserError
from selfloop.report.charts import MARKERS


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def lightness_of(colour):
    """CIE L*, from 0 for black to 100 for white."""
    values = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_headline_draws_a_panel_per_regime_with_the_mean_over_seeds_and_the_seeds(metrics, loss):
    figure = headline_figure(metrics, "text", loss, title="Costs $5 and $6")
    assert [axes.get_title() for axes in figure.axes] == ["Replace", "Accumulate", "Replace-Multiple"]
    replace = figure.axes[0]
    line = lines_of(replace)["GPT-2 (0.5M)"]
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(line.get_ydata(), [2.1, 2.6, 3.1, 3.6, 4.1])
    seeds = replace.get_lines()[-1]
    np.testing.assert_allclose(sorted(seeds.get_ydata())[::9], [2.0, 4.2])  # two seeds at each of five iterations
    assert list(replace.get_xticks()) == [1, 2, 3, 4, 5]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.legends[0].get_title().get_text() == "Model"
    assert legend_texts(figure) == ["GPT-2 (0.5M)", SEEDS, INTERVAL]
    assert figure.get_suptitle() == "Costs $5 and $6"
    assert figure.get_supylabel() == "Test cross-entropy\n(nats per token)"


def test_one_seed_has_no_interval_and_the_legend_names_none(make_metrics, loss):
    figure = headline_figure(make_metrics(seeds=1), "text", loss)
    assert not any(axes.collections for axes in figure.axes)
    assert legend_texts(figure) == ["GPT-2 (0.5M)"]


def test_three_seeds_have_the_interval_of_their_mean(make_metrics, loss):
    (axes,) = headline_figure(make_metrics(seeds=3, iterations=1, regimes=("replace",)), "text", loss).axes
    assert list(axes.get_xticks()) == [1]
    assert lines_of(axes)["GPT-2 (0.5M)"].get_marker() == "o"
    (interval,) = axes.collections[0].get_segments()
    half = 4.3027 * 0.2 / math.sqrt(3)  # t(97.5%, 2 degrees of freedom), of 2.0, 2.2 and 2.4
    np.testing.assert_allclose(interval, [[1, 2.2 - half], [1, 2.2 + half]], atol=1e-4)


def test_values_that_are_nan_or_missing_are_gaps(make_metrics, loss):
    metrics = make_metrics(seeds=1, regimes=("replace",))
    metrics.loc[1, "value"] = math.nan
    (axes,) = headline_figure(metrics.drop(index=3), "text", loss).axes
    np.testing.assert_allclose(lines_of(axes)["GPT-2 (0.5M)"].get_ydata(), [2.0, np.nan, 3.0, np.nan, 4.0])


def test_a_figure_of_nothing_but_nan_is_empty_and_can_be_saved(metrics, loss, tmp_path: Path):
    figure = headline_figure(metrics.assign(value=math.nan), "text", loss)
    assert np.isnan(lines_of(figure.axes[0])["GPT-2 (0.5M)"].get_ydata()).all()
    save(figure, [tmp_path / "nan.svg"])
    assert (tmp_path / "nan.svg").stat().st_size > 0


def test_models_differ_by_colour_and_marker_and_samplings_by_dash(make_metrics, loss):
    parts = [
        make_metrics(model=model, experiment=model, sampling=f"temperature={temperature}")
        for model in ("A", "B")
        for temperature in (1.0, 0.3)
    ]
    figure = headline_figure(pd.concat(parts), "text", loss)
    lines = lines_of(figure.axes[0])
    assert list(lines) == [f"{m}, temperature={t}" for m in "AB" for t in (1.0, 0.3)]
    a_hot, a_cold, b_hot, _ = lines.values()
    assert a_hot.get_color() == a_cold.get_color() != b_hot.get_color()
    assert a_hot.get_marker() == a_cold.get_marker() != b_hot.get_marker()
    assert a_hot.get_linestyle() == b_hot.get_linestyle() != a_cold.get_linestyle()
    assert legend_texts(figure) == ["A", "B", "temperature=1.0", "temperature=0.3", SEEDS, INTERVAL]


def test_synthetic_draws_a_panel_per_quantity_there_is_and_a_line_per_regime(make_metrics):
    parts = [make_metrics(metric="distinct_2", split="synthetic", part=part) for part in (1, 2)]
    parts[1]["value"] += 1.0
    wanted = [Quantity("distinct_1", "synthetic", "Distinct-1"), Quantity("distinct_2", "synthetic", "Distinct-2")]
    (axes,) = synthetic_figure(pd.concat(parts), "text", wanted).axes
    assert axes.get_title() == "Distinct-2"
    replace, accumulate, _ = lines_of(axes).values()
    np.testing.assert_allclose(replace.get_ydata(), [2.6, 3.1, 3.6, 4.1, 4.6])
    assert replace.get_color() != accumulate.get_color()
    with pytest.raises(UserError, match=r"distinct_1 .*; there is text \(gpt2\): distinct_2/synthetic"):
        synthetic_figure(pd.concat(parts), "text", wanted[:1])


@pytest.fixture
def curves() -> pd.DataFrame:
    """Two seeds whose steps differ, two regimes, two iterations, evaluated before, within and after the run."""
    base = {"experiment": "gpt2", "domain": "text", "model": "GPT-2 (0.5M)", "sampling": "temperature=1.0"}
    rows = [
        base
        | {"regime": regime, "seed": seed, "iteration": iteration, "split": "test", "metric": "cross_entropy"}
        | {"step": (10 + 2 * seed) * k, "epoch": k / 2, "value": 8.0 / (k + 1) + iteration + seed}
        for regime in ("accumulate", "replace")
        for seed in (0, 1)
        for iteration in (1, 2)
        for k in range(3)
    ]
    return pd.DataFrame(rows)


def test_learning_curves_show_the_mean_over_seeds_for_every_iteration(curves, loss):
    figure = learning_figure(curves, "text", loss)
    replace, accumulate, bar = figure.axes
    assert (replace.get_title(), accumulate.get_title()) == ("Replace", "Accumulate")
    lines = lines_of(replace)
    assert list(lines) == ["1", "2"]
    np.testing.assert_allclose(lines["2"].get_xdata(), [0, 0.5, 1])
    np.testing.assert_allclose(lines["2"].get_ydata(), [10.5, 6.5, 8 / 3 + 2.5])
    assert len(replace.get_lines()) == 2 * 3  # a mean and two faint seeds for each iteration
    assert replace.get_ylabel() == "GPT-2 (0.5M)"
    assert bar.get_ylabel() == "Model-fitting iteration (faint\nlines: single seeds)"


def test_learning_curves_by_step_on_a_log_scale_leave_out_the_step_zero(curves, loss):
    figure = learning_figure(curves, "text", loss, x="step", scale="log")
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    np.testing.assert_allclose(lines_of(axes)["1"].get_xdata(), [11, 22])
    assert figure.get_supxlabel() == "Gradient step"


def test_learning_curves_of_a_study_of_one_iteration_share_a_panel_with_a_line_per_model(curves, loss):
    first = curves[curves["iteration"] == 1]
    others = [first.assign(experiment=f"rate-{k}", model=f"Rate {k}", value=first["value"] + k) for k in range(1, 9)]
    axes, *rest = learning_figure(pd.concat([first, *others]), "text", loss).axes
    assert not rest
    lines = lines_of(axes)
    assert len(lines) == 9
    looks = {(line.get_color(), line.get_marker()) for line in lines.values()}
    assert len(looks) == 9
    shifted = [name for name in lines if "Rate 8" in name]
    np.testing.assert_allclose(
        lines[shifted[0]].get_ydata(), lines[next(iter(lines))].get_ydata() + 8
    )  # and once: the regimes share these models
    assert len(axes.get_lines()) == 9 * (1 + first["seed"].nunique())


def test_the_mean_ends_where_the_shortest_seed_ends(curves, loss):
    stopped = curves[~((curves["seed"] == 1) & (curves["step"] > 12))]
    np.testing.assert_allclose(lines_of(learning_figure(stopped, "text", loss).axes[0])["1"].get_xdata(), [0, 0.5])


def test_a_log_scale_without_positive_values_is_an_error(curves, loss):
    with pytest.raises(UserError, match="no positive epoch and cross_entropy in domain text"):
        learning_figure(curves[curves["step"] == 0], "text", loss, scale="log")
    with pytest.raises(UserError, match="no positive epoch and cross_entropy in domain text"):
        learning_figure(curves.assign(value=math.nan), "text", loss, scale="log")


def test_a_model_that_diverged_leaves_its_row_of_learning_curves_empty(curves, loss, tmp_path: Path):
    both = pd.concat([curves, curves.assign(experiment="llama", model="Llama", value=math.nan)])
    figure = learning_figure(both, "text", loss, scale="log")
    assert np.isnan(lines_of(figure.axes[2])["1"].get_ydata()).all()
    np.testing.assert_allclose(lines_of(figure.axes[0])["1"].get_ydata(), [5.5, 8 / 3 + 1.5])
    save(figure, [tmp_path / "curves.svg"])
    assert (tmp_path / "curves.svg").stat().st_size > 0


def test_regimes_look_the_same_whatever_else_a_study_holds():
    few, many = regime_marks(["mine", "replace"]), regime_marks([*BUILT_IN, "mine", "other", "third", "yours"])
    assert {name: many[name] for name in few} == few
    assert len({mark.colour for mark in many.values()}) == len({mark.marker for mark in many.values()}) == 11
    assert {mark.marker for mark in many.values()} <= MARKERS.keys()


def test_the_papers_regimes_and_the_controls_differ_in_grey_print():
    names = ("replace", "accumulate", "replace-multiple", "real", "real-multiple", "all-fresh")
    lightness = sorted(lightness_of(BUILT_IN[name].colour) for name in names)
    assert min(np.diff(lightness)) > 10


def test_ten_models_look_different_and_their_legends_do_not_meet(metrics, loss):
    models = [
        metrics.assign(
            experiment=f"stories-gpt2-{k}", model=f"GPT-2 ({k + 5}M) of a rather long name", sampling=f"s{k % 3}"
        )
        for k in range(10)
    ]
    figure = headline_figure(pd.concat(models), "text", loss)
    lines = lines_of(figure.axes[0]).values()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 10
    figure.draw_without_rendering()
    upper, lower = (legend.get_window_extent() for legend in figure.legends)
    assert upper.y0 >= lower.y1
    assert lower.y0 >= 0
    assert upper.y1 <= figure.bbox.y1


def test_the_papers_regimes_differ_in_gray():
    colours = [mark.colour for mark in regime_marks(["replace", "accumulate", "replace-multiple"]).values()]
    gray = sorted(np.dot([0.2126, 0.7152, 0.0722], [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for c in colours)
    assert min(np.diff(gray)) > 0.2


def test_more_regimes_than_colours_still_draw():
    assert len(regime_marks([f"mine-{k}" for k in range(10)])) == 10


def test_a_saved_figure_has_the_same_bytes_each_time_and_names_no_date(metrics, loss, tmp_path: Path):
    first, second = ([tmp_path / f"{name}.{form}" for form in ("png", "svg")] for name in "ab")
    save(headline_figure(metrics, "text", loss), first)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):  # a user's own settings change nothing
        save(headline_figure(metrics, "text", loss), second)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"<dc:date>" not in first[1].read_bytes()
    assert first[0].read_bytes().startswith(b"\x89PNG")
    save(headline_figure(metrics, "text", loss, title="Changed"), [tmp_path / "c.svg"])
    assert (tmp_path / "c.svg").read_bytes() != first[1].read_bytes()


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Installs a font of a name that has the characters given, each a square."""

    def install(name: str, characters: str) -> None:
        pen = TTGlyphPen(None)
        pen.moveTo((100, 0))
        for corner in ((100, 700), (800, 700), (800, 0)):
            pen.lineTo(corner)
        pen.closePath()
        square = pen.glyph()
        glyphs = [".notdef", *(f"u{ord(character):x}" for character in characters)]
        builder = FontBuilder(1000)
        builder.setupGlyphOrder(glyphs)
        builder.setupCharacterMap({ord(character): f"u{ord(character):x}" for character in characters})
        builder.setupGlyf(dict.fromkeys(glyphs, square))
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2(usWeightClass=400)
        builder.setupPost()
        builder.save(tmp_path / f"{name}.ttf")
        fontManager.addfont(tmp_path / f"{name}.ttf")

    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    monkeypatch.setattr("selfloop.analysis.fonts.findSystemFonts", list)
    return install


TITLE = "\u6545\u4e8b \u640d\u5931 5$ or 10$"  # Chinese and Japanese


def test_a_title_falls_back_to_installed_fonts_that_have_its_characters(
    metrics, loss, font, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    font("Two", "\u6545\u4e8b")
    font("Three Sans", "\u6545\u640d\u5931")
    figure = headline_figure(metrics, "text", loss, title=TITLE)
    save(figure, [tmp_path / "text-headline.png"])
    assert figure._suptitle.get_fontfamily() == ["sans-serif", "Three Sans", "Two"]
    assert all(text.get_fontfamily() == ["sans-serif"] for text in figure.axes[0].get_xticklabels())
    assert "font" not in "".join(capfd.readouterr())


def test_characters_that_no_font_has_are_said_once_with_the_title(
    metrics, loss, font, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger("selfloop"), "propagate", True)
    font("One", "\u6545")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(
            headline_figure(metrics, "text", loss, title=TITLE),
            [tmp_path / f"text-headline.{x}" for x in ("png", "svg")],
        )
    (message,) = caplog.messages
    assert message.startswith(f"text-headline: no installed font has the characters \u4e8b\u640d\u5931 of '{TITLE}'")
    assert "figures.titles" in message


def test_the_fonts_of_the_user_s_matplotlibrc_are_kept(metrics, loss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(matplotlib.rcParamsOrig, "font.family", ["serif"])
    figure = headline_figure(metrics, "text", loss, title="Title")
    assert figure._suptitle.get_fontfamily() == ["serif"]


def test_a_figure_of_another_kind_is_refused_before_anything_is_written(metrics, loss, tmp_path: Path):
    with pytest.raises(ValueError, match=r"a.bmp: a figure's file ends in .png or .svg"):
        save(headline_figure(metrics, "text", loss), [tmp_path / "a.png", tmp_path / "a.bmp"])
    assert not list(tmp_path.iterdir())


def on_a_grid(values, **same):
    """A study of two seeds whose headline at iteration 2 is the value of its regime, and 9 before."""
    base = {"experiment": "gpt2", "domain": "text", "model": "GPT-2 (0.5M)", "sampling": "t", "part": None}
    rows = [
        base
        | {"regime": regime, "seed": seed, "iteration": n, "split": "test", "metric": "cross_entropy", "value": each}
        | same
        for regime, value in values.items()
        for seed in range(2)
        for n, each in ((1, 9.0), (2, value + seed))
    ]
    return pd.DataFrame(rows).astype({"part": "Int16"})


def test_a_grid_of_two_variables_has_a_cell_for_every_point(loss, tmp_path):
    points = {f"m-a{a}-b{b}": {"a": a, "b": b} for a in (0.1, 1) for b in (0, 1, 4)}
    values = {name: 100 * point["a"] + point["b"] for name, point in points.items()}
    figure = grid_figure(on_a_grid(values), "text", loss, points)
    cells, bar = figure.axes
    np.testing.assert_allclose(cells.images[0].get_array(), [[10.5, 11.5, 14.5], [100.5, 101.5, 104.5]])
    assert [text.get_text() for text in cells.texts] == ["10.5", "11.5", "14.5", "100", "102", "104"]
    assert [label.get_text() for label in cells.get_xticklabels()] == ["0", "1", "4"]
    assert (cells.get_xlabel(), cells.get_ylabel()) == ("b", "a")
    assert "at iteration 2" in bar.get_ylabel()
    save(figure, [tmp_path / "grid.svg"])
    assert (tmp_path / "grid.svg").stat().st_size > 0


def test_a_grid_of_three_variables_has_a_panel_for_every_value_of_the_third(loss):
    points = {f"m-a{a}-b{b}-c{c}": {"a": a, "b": b, "c": c} for a in (1, 2) for b in (1, 2) for c in (5, 7)}
    figure = grid_figure(on_a_grid({name: sum(point.values()) for name, point in points.items()}), "text", loss, points)
    assert [axes.get_title() for axes in figure.axes[:-1]] == ["c = 5", "c = 7"]
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), [[9.5, 10.5], [10.5, 11.5]])


def test_a_grid_of_one_variable_is_a_line_of_means_with_the_seeds(loss):
    points = {"m-w4": {"w": 4}, "m-w0.5": {"w": 0.5}}
    (axes,) = grid_figure(on_a_grid({"m-w4": 2.0, "m-w0.5": 1.0}), "text", loss, points).axes
    line = lines_of(axes)["GPT-2 (0.5M)"]
    np.testing.assert_allclose(line.get_xdata(), [0.5, 4])
    np.testing.assert_allclose(line.get_ydata(), [1.5, 2.5])
    assert axes.get_xlabel() == "w"
