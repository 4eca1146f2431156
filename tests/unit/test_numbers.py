"""How counts, sizes, durations and tables read."""

import pytest

from selfloop import numbers


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (12.4, "12"),
        (999.6, "1.00k"),
        (1234, "1.23k"),
        (470e6, "470M"),
        (9.996e9, "10.0G"),
        (99.96e9, "100G"),
        (1.016e18, "1.02E"),
    ],
)
def test_numbers_are_short(number: float, shown: str) -> None:
    assert numbers.short(number) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12.3e9, "12.3 GB")])
def test_sizes_are_in_decimal_units(count: int, shown: str) -> None:
    assert numbers.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "?"),
        (float("nan"), "?"),
        (0.004, "0 s"),
        (0.42, "0.42 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 5 min"),
        (100_000.0, "1 d 3 h"),
    ],
)
def test_durations_have_two_units(seconds: float | None, shown: str) -> None:
    assert numbers.duration(seconds) == shown


def test_columns_are_aligned_and_text_that_looks_like_a_number_stays_as_it_is() -> None:
    rows = [["name", "rows"], ["a", "1"], ["long", "1,200"], ["b", "7e10"]]
    assert numbers.table(rows, right=[1]).splitlines() == [
        "name   rows",
        "a         1",
        "long  1,200",
        "b      7e10",
    ]
