"""Whether figures that lie there show the study that a page is made of."""

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from selfloop.data import collect
from selfloop.data.atomic import atomic_file
from selfloop.data.tidy import CURVES, PROFILE
from selfloop.operations.report import are_current, draw, is_usable
from selfloop.planning.rules import Plan
from selfloop.report.content import Gap, not_simulated

from ..report.conftest import measured, plan

SIMULATIONS = [{"experiment": "mine", "domain": "linear", "file": "results/simulations/s.parquet"}]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A finished study."""
    monkeypatch.chdir(tmp_path)
    made = plan()
    measured = (*made.measurement_files, *made.curve_files, *made.simulation_files, *made.profile_files)
    for name in (*measured, *made.shows.files(), *made.shows.marks):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return made


def test_figures_of_a_finished_study_are_current(study: Plan) -> None:
    assert are_current(study)


@pytest.mark.parametrize(
    "gone",
    [
        lambda study: study.measurement_files[0],
        lambda study: study.measurement_files[-1],
        lambda study: study.curve_files[0],
        lambda study: study.profile_files[0],
        lambda study: study.shows.files()[0],
        lambda study: study.shows.tables_mark,  # they show another study, or this one before a change
        lambda study: study.shows.marks[-1],
    ],
)
def test_figures_are_not_current_where_something_is_missing(study: Plan, gone: Callable[[Plan], str]) -> None:
    Path(gone(study)).unlink()
    assert not are_current(study)


def test_settings_that_are_not_simulated_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(SIMULATIONS[0]["file"]).parent.mkdir(parents=True)
    Path(SIMULATIONS[0]["file"]).touch()
    assert not_simulated(SIMULATIONS) == []
    more = [*SIMULATIONS, {**SIMULATIONS[0], "file": "results/simulations/t.parquet"}]
    assert not_simulated(more) == [Gap("mine, simulated", "1 of 2 settings")]


def test_what_can_be_drawn_of_an_unfinished_study_is_drawn_with_its_steps_functions(tmp_path: Path) -> None:
    curves = pd.DataFrame(columns=CURVES.names)  # no training has finished
    profile = pd.DataFrame(columns=PROFILE.names)  # nor has a part been compared with real data
    draw(plan().shows.entries, {"metrics": measured(), "learning_curves": curves, "profile": profile}, tmp_path)
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
    assert f"left out: {path} has been damaged" in caplog.text
