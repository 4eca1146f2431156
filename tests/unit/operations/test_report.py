"""Whether figures that lie there show the study that a page is made of."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfloop.data import collect
from selfloop.data.atomic import atomic_file
from selfloop.data.tidy import CURVES
from selfloop.operations.report import are_current, draw, is_usable
from selfloop.report.content import Gap, not_simulated

from ..report.conftest import measured, plan

CHAIN: dict[str, Any] = {"experiment": "mine", "domain": "linear", "model": "Linear regression", "regime": "replace"}
CHAIN |= {"sampling": "gaussian", "seed": 0, "iteration": 1, "model_folder": "m", "part_folders": ["m/parts/p"]}
SAMPLES = "results/figures/image-samples.svg"  # waits for no measurement
FIGURE = "results/figures/linear-headline.svg"
SIMULATION = "results/simulations/s.parquet"
SIMULATIONS = [{"experiment": "mine", "domain": "linear", "file": SIMULATION}]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished study, each file a second after the one before."""
    monkeypatch.chdir(tmp_path)
    measured = ["m/measurements.json", "m/learning_curve.parquet", "m/parts/p.measurements.json", SIMULATION]
    for second, name in enumerate([SAMPLES, *measured, "results/chains.csv", FIGURE]):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(collect.index([CHAIN]) if name.endswith(".csv") else "x", encoding="utf-8")
        os.utime(name, (second, second))


def current(chain: dict[str, Any] = CHAIN) -> bool:
    return are_current([FIGURE], [SAMPLES], [chain], SIMULATIONS)


@pytest.mark.usefixtures("study")
def test_figures_of_a_finished_study_are_current() -> None:
    assert current()


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    "change",
    [
        lambda: os.utime("m/measurements.json", (9, 9)),
        lambda: os.utime("m/parts/p.measurements.json", (9, 9)),
        lambda: os.utime(SIMULATION, (9, 9)),
        lambda: os.utime("results/chains.csv", (9, 9)),  # the tables are new, the figures not yet
        lambda: Path(SIMULATION).unlink(),
        lambda: Path("m/learning_curve.parquet").unlink(),
        lambda: Path(FIGURE).unlink(),
        lambda: Path("results/chains.csv").unlink(),
    ],
)
def test_figures_are_not_current_where_something_is_missing_or_was_measured_later(change: Callable[[], Any]) -> None:
    change()
    assert not current()


@pytest.mark.usefixtures("study")
def test_figures_of_another_study_in_the_same_folder_are_not_this_ones() -> None:
    assert not current(CHAIN | {"experiment": "other"})


@pytest.mark.usefixtures("study")
def test_settings_that_are_not_simulated_are_missing() -> None:
    assert not_simulated(SIMULATIONS) == []
    more = [*SIMULATIONS, {**SIMULATIONS[0], "file": "results/simulations/t.parquet"}]
    assert not_simulated(more) == [Gap("mine, simulated", "1 of 2 settings")]


def test_what_can_be_drawn_of_an_unfinished_study_is_drawn_with_its_steps_functions(tmp_path: Path) -> None:
    curves = pd.DataFrame(columns=CURVES.names)  # no training has finished
    draw(plan().shows.entries, {"metrics": measured(), "learning_curves": curves}, tmp_path)
    drawn = {path.name for path in tmp_path.glob("[!.]*")}  # hidden are their checksums
    assert drawn == {
        *("text-headline.svg", "text-headline.png", "text-headline.csv"),
        *("text-trend.csv", "text-paper.csv"),
    }


@pytest.mark.parametrize("text", ["[]", "[", ""])
def test_measurements_that_are_not_as_they_were_written_are_left_out_and_named(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("selfloop"), "propagate", True)
    path = tmp_path / "measurements.json"
    with atomic_file(path) as scratch:
        scratch.write_text("{}", encoding="utf-8")
    assert is_usable(collect.measurements, str(path))
    path.write_text(text, encoding="utf-8")
    assert not is_usable(collect.measurements, str(path))
    assert f"left out: {path} is damaged" in caplog.text
