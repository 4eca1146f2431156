"""Figures of the collapse profile: a panel for each measure, or for each model and regime, and lines of real data."""

from dataclasses import replace

import pandas as pd
import pytest

from selfloop.analysis.figures import REAL_MARK
from selfloop.analysis.profile_figures import bands_figure, curves_figure, map_figure, measures_figure
from selfloop.data.profile import Measure
from selfloop.data.tidy import PROFILE
from selfloop.errors import UserError

MEASURES = [Measure("entropy", "Entropy", "nats"), Measure("recall", "Recall")]


@pytest.fixture
def profile() -> pd.DataFrame:
    """Two regimes of one model, three iterations, two seeds; the second measure is not that of real data."""
    chain = {"experiment": "e", "domain": "text", "model": "m", "sampling": "s"}
    rows = [
        {**chain, "regime": regime, "seed": seed, "iteration": t, "measure": name, "at": at, "value": t + at, "real": r}
        for regime in ("replace", "accumulate")
        for seed in (0, 1)
        for t in (1, 2, 3)
        for name, r in (("curve", 5.0), ("map_1", 0.1), ("map_2", 0.2))
        for at in (1.0, 2.0, 4.0)
    ]
    rows += [
        {**row, "measure": name, "at": None, "real": real}
        for row in rows
        if row["measure"] == "curve" and row["at"] == 1.0
        for name, real in (("entropy", 4.5), ("recall", None))
    ]
    return pd.DataFrame(rows, columns=PROFILE.names).astype({"at": float, "real": float})


def test_a_measure_has_a_panel_and_real_data_a_dotted_line(profile: pd.DataFrame) -> None:
    entropy, recall = measures_figure(profile, "text", MEASURES).axes
    assert [axes.get_title() for axes in (entropy, recall)] == ["Entropy (nats)", "Recall"]
    dotted = [line for line in entropy.lines if line.get_linestyle() == REAL_MARK["linestyle"]]
    assert [list(line.get_ydata()) for line in dotted] == [[4.5, 4.5]]
    assert not [line for line in recall.lines if line.get_linestyle() == REAL_MARK["linestyle"]]


def test_a_line_marks_where_errors_neither_grow_nor_shrink(profile: pd.DataFrame) -> None:
    measures = [replace(MEASURES[0], even=1.0), MEASURES[1]]
    entropy, recall = measures_figure(profile, "text", measures).axes
    grey = [
        [list(line.get_ydata()) for line in axes.lines if line.get_color() == "#999999"] for axes in (entropy, recall)
    ]
    assert grey == [[[1.0, 1.0]], []]


def test_curves_have_a_panel_per_regime_a_line_per_iteration_and_one_of_real_data(profile: pd.DataFrame) -> None:
    panels = curves_figure(profile, "text", "curve", "x", "y").axes
    assert [axes.get_title() for axes in panels] == ["Replace", "Accumulate"]
    *iterations, real = panels[0].lines
    assert [list(line.get_ydata()) for line in iterations] == [[t + at for at in (1, 2, 4)] for t in (1, 2, 3)]
    assert list(real.get_ydata()) == [5.0] * 3


def test_bands_have_a_line_each_against_the_iteration_and_one_of_real_data(profile: pd.DataFrame) -> None:
    figure = bands_figure(profile, "text", "curve", "y")
    panel = figure.axes[0]
    assert figure.legends[0].get_texts()[-1].get_text() == "a trigram of held-out real text"
    assert [list(line.get_ydata()) for line in panel.lines[::2]] == [[t + at for t in (1, 2, 3)] for at in (1, 2, 4)]
    assert [list(line.get_ydata()) for line in panel.lines[1::2]] == [[5.0, 5.0]] * 3


def test_a_map_shows_one_seed_by_iteration_over_real_data(profile: pd.DataFrame) -> None:
    panel = map_figure(profile, "text", ("map_1", "map_2")).axes[0]
    assert [len(points.get_offsets()) for points in panel.collections] == [9, 3, 3, 3]


def test_what_is_not_measured_is_not_drawn(profile: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="no value of power in domain text has been measured"):
        curves_figure(profile, "text", "power", "x", "y")
