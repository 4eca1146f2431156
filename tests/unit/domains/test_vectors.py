"""Data sets of vectors in Parquet."""

from pathlib import Path

import numpy as np
import pytest

from selfloop.domains.vectors import read_rows, write_rows
from selfloop.errors import UserError


def test_a_data_set_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((7, 3))
    write_rows(tmp_path / "part", X, iteration=2, part=1, first=5)
    assert np.array_equal(read_rows(tmp_path / "part"), X)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_never_become_training_data(tmp_path: Path, wrong: float) -> None:
    with pytest.raises(UserError, match="not finite"):
        write_rows(tmp_path / "part", np.array([[0.0], [wrong]]))
    assert not (tmp_path / "part").exists()
