"""The words of a study in a terminal."""

import re

import numpy as np

from selfloop.report.content import Judged, Row
from selfloop.report.summary import WIDTH, summary
from selfloop.report.verdicts import Verdict
from selfloop.statistics.effect import effect, exact_effect

# Model 1 has learnt 2 of 6 nats; iteration 2 loses about half of them again.
LOSSES = np.array([[4.0, 5.0], [4.0, 5.04], [4.0, 5.08]])


def row(losses: np.ndarray, regimes: dict[str, Verdict]) -> Row:
    name = "a model whose name is as long as those of some experiments are (9M)"
    of = effect(losses, 6.0)
    cells = {regime: Judged("stories", name, regime, of, {}, verdict=word) for regime, word in regimes.items()}
    return Row("text", "Language models", name, False, cells)


def test_each_regime_of_a_model_is_a_line_with_its_word_and_number() -> None:
    words = {"replace": Verdict("worse, flat", since=2), "real": Verdict("no notable change")}
    text = summary([row(LOSSES, words)], "An answer.")
    lines = [re.split(" {2,}", line.strip()) for line in text.splitlines() if line.startswith(" ")]
    assert lines == [
        ["replace", "worse, flat since 2", "+52%", "+47% to +57%", "n=3"],
        ["real", "no notable change", "+52%", "+47% to +57%", "n=3"],
    ]
    assert text.startswith("An answer.")


def test_it_fits_in_80_columns() -> None:
    wide = LOSSES * [[1, 1e3], [1, -1e6], [1, 1e6]]
    cell = {"accumulate-subsample": Verdict("worse, late trend open")}
    assert max(map(len, summary([row(wide, cell)], "word " * 60).splitlines())) <= WIDTH


def test_what_theory_knows_has_no_interval() -> None:
    of = exact_effect(np.array([1.0, 91.0]), 2.0, seeds=100)
    cells = {"replace": Judged("linear", "linear", "replace", of, {}, verdict=Verdict("useless"))}
    text = summary([Row("linear", "Linear", "linear", True, cells)], "")
    (line,) = [line for line in text.splitlines() if line.startswith(" ")]
    assert line.split() == ["replace", "useless", "+9,000%", "exact", "n=100"]


def test_columns_that_do_not_fit_are_left_out_from_the_last_one_on() -> None:
    name = "a-regime-of-ones-own-with-a-name-of-fifty-characters"
    text = summary([row(LOSSES, {name: Verdict("worse, flat", since=2)})], "")
    (line,) = [line for line in text.splitlines() if name in line]
    assert line.endswith("+52%") and len(line) <= WIDTH


def test_a_study_without_measurements_says_so() -> None:
    assert summary([], "") == "The study has measured nothing yet."
