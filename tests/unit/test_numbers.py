"""How counts, sizes, durations and tables read."""

import math

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


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((4.9, "4.90"), (0.01551, "0.0155"), (12345.0, "12,345"), (100.0, "100"), (999.6, "1,000"), (0.0, "0.00")),
        *((4e-5, "4.0e\N{MINUS SIGN}05"), (-1.5, "\N{MINUS SIGN}1.50"), (math.nan, "\N{EN DASH}")),
        (math.inf, "\N{INFINITY}"),
    ],
)
def test_measured_values_have_three_figures(value: float, shown: str) -> None:
    assert numbers.measured(value) == shown
