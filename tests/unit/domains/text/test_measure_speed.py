"""How fast this machine is, is measured with the steps that a study runs."""

import pytest
import yaml

from selfloop.domains.text.measure_speed import measure_speed
from selfloop.planning.check import check
from selfloop.training.speed import Clock, Enough, matrix_products

ENTRY = """
domain: text
data: {source: packaged, name: shakespeare, rows: 100}
model: {architecture: llama, hidden_size: 16, layers: 1, heads: 2, intermediate_size: 32, context: 32, vocabulary: 300}
training: {epochs: 3, batch_size: 4, precision: float32}
sampling: [{prompt: begin-of-text}, {prompt: first-token}]
regimes: [replace]
iterations: 1
seeds: [0]
"""


@pytest.mark.parametrize("place", [0, 1])
def test_both_rates_are_measured_and_below_that_of_matrix_products(place: int) -> None:
    entry = check({"experiments": {"a": yaml.safe_load(ENTRY)}})["experiments"]["a"]
    train, generate = measure_speed(entry["model"], entry["training"], entry["sampling"][place], 20.0, threads=1)
    products = matrix_products(threads=1)
    assert 1e5 < train < products
    assert 1e5 < generate < products


def test_the_clock_leaves_out_the_first_report_and_as_many_last_ones_as_asked() -> None:
    clock = Clock()
    clock.reports = [(10.0, 100), (12.0, 4), (14.0, 6), (99.0, 1000)]
    assert clock.rate(leave=1) == pytest.approx((4 + 6) / 4)
    assert clock.rate() == pytest.approx(1010 / 89)
    with pytest.raises(ValueError, match="1 reports cannot be timed"):
        clock.rate(leave=3)


def test_the_clock_stands_in_for_a_progress_bar() -> None:
    clock = Clock()
    with clock(total=3, desc="train") as bar:
        bar.update(2)
        bar.set_postfix_str("words", refresh=False)
        bar.update()
    assert [count for _, count in clock.reports] == [2, 1]


def test_the_clock_stops_a_step_that_goes_on_for_long() -> None:
    clock = Clock(seconds=0.0)
    with clock() as bar, pytest.raises(Enough):
        for _ in range(9):
            bar.update()
    assert len(clock.reports) == 3
