"""Scores by the user's own program and by a detector, and how scores are written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from selfloop.config.filters import Filter
from selfloop.data.choice import read_scores
from selfloop.data.contents import Contents
from selfloop.domains.vectors import write_rows
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.scoring.command import command_scores
from selfloop.scoring.detector import detector_scores, of_points, of_words
from selfloop.scoring.scores import ScoreParams, score_part

READ = "import json, sys\nrows = [json.loads(line) for line in sys.stdin]\n"


def program(folder: Path, text: str, **keys: Any) -> Filter:
    """A filter by a program of Python."""
    (folder / "verify.py").write_text(READ + text, encoding="utf-8")
    return Filter(by="command", command=[sys.executable, "-S", str(folder / "verify.py")], **keys)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    write_rows(tmp_path / "part", np.arange(14.0).reshape(7, 2), iteration=3)
    return tmp_path / "part"


def test_scores_are_written_once_for_each_row_and_must_be_finite(tmp_path: Path) -> None:
    job = Job(
        {"part": "the part"}, {"scores": str(tmp_path / "scores.parquet")}, ScoreParams(scorer=Filter(by="length"))
    )
    score_part(job, of_points, lambda: np.array([3.0, 1.0, 2.0]))
    assert read_scores(tmp_path / "scores.parquet").tolist() == [3.0, 1.0, 2.0]
    with pytest.raises(UserError, match="the part: the score of row 1 by length is nan"):
        score_part(job, of_points, lambda: np.array([0.0, np.nan]))
    assert read_scores(tmp_path / "scores.parquet").tolist() == [3.0, 1.0, 2.0], "what was written stays"


def test_a_program_is_given_every_column_of_every_row_in_chunks(part: Path, tmp_path: Path) -> None:
    text = "open(sys.argv[0] + '.runs', 'a').write(f'{len(rows)} ')\nprint(*(r['x'][0] + 100 * r['row'] for r in rows))"
    scorer = program(tmp_path, text, chunk=3)
    assert command_scores(scorer, part, None).tolist() == [102.0 * row for row in range(7)]
    assert (tmp_path / "verify.py.runs").read_text() == "3 3 1 "


def test_a_program_may_import_modules_beside_it(part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as rules' steps have it
    (tmp_path / "judge.py").write_text("score = 0.5")
    assert command_scores(program(tmp_path, "import judge\nfor row in rows: print(judge.score)"), part, None)[6] == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sys.exit('cannot read the model')", ", rows 0 to 6 of {part}: exit code 1: cannot read the model"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9: it printed no error"),
        ("print(1, 2, 3)", ": it printed 3 numbers for 7 rows; print one per row."),
        ("print(*[1] * 6, 'nan')", ": it printed 'nan' for row 6; print a finite number."),
        ("print(*[1] * 5, 'good', 'bad')", ": it printed 'good' for row 5; print a finite number."),
    ],
)
def test_what_is_wrong_with_a_programs_answer_is_one_message(
    part: Path, tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        command_scores(program(tmp_path, text), part, None)
    assert str(caught.value).startswith(f"filter command '{sys.executable} -S {tmp_path}/verify.py', rows 0 to 6 of ")
    assert str(caught.value).endswith(expected.format(part=part))


def test_a_program_that_is_not_there_is_named(part: Path) -> None:
    with pytest.raises(UserError, match=r"filter command './verify', .*: it cannot be run \(No such file"):
        command_scores(Filter(by="command", command=["./verify"]), part, None)


def test_a_program_that_changes_while_the_study_runs_is_refused(part: Path, tmp_path: Path) -> None:
    scorer = program(tmp_path, "print(*range(7))")
    contents = Contents().of(scorer.files)
    assert command_scores(scorer, part, contents).tolist() == list(range(7))
    program(tmp_path, "print(*range(1, 8))")
    with pytest.raises(UserError, match="the files of a filter's command have changed since the study was planned"):
        command_scores(scorer, part, contents)


def rows_of(shift: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, size=(400, 2))


@pytest.mark.parametrize(
    "to_features", [of_points, lambda X: scipy.sparse.csr_matrix(np.abs(X))], ids=["dense", "sparse"]
)
def test_a_detector_finds_rows_that_look_real(to_features: Callable[[Any], Any]) -> None:
    real, likely, unlikely = rows_of(2.0, 0), rows_of(2.0, 1), rows_of(0.0, 2)
    scores = detector_scores(to_features(np.concatenate([likely, unlikely])), to_features(real))
    assert (scores[:400] > scores[400:]).mean() > 0.9


def test_a_detector_has_not_seen_the_rows_that_it_scores() -> None:
    """Of samples with the real law, and with as many features as a regression can learn by heart."""
    generator = np.random.default_rng(0)
    sampled, real = generator.normal(size=(2, 100, 60))
    scores = detector_scores(sampled, real)
    assert (
        abs((scores > 0).mean() - 0.5) < 0.2
    )  # 4 standard errors; one that had seen them would say "synthetic" of all


def test_words_are_hashed_and_counted_once() -> None:
    found = of_words([["a", "b", "a"], ["c"]])
    assert found.sum(axis=1).ravel().tolist() == [[2.0, 1.0]]
