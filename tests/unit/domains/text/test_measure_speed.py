"""How fast this machine is, is measured with the steps that a study runs."""

import pytest
import yaml

from selfloop.domains.text.measure_speed import measure_speed
from selfloop.planning.check import check
from selfloop.training.speed import ThroughputMeter, TimeUp, matmul_flops

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
    entry = check({"experiments": {"a": yaml.safe_load(ENTRY)}}).experiments["a"]
    train, generate = measure_speed(entry.data, entry.model, entry.training, entry.sampling[place], 20.0, threads=1)
    products = matmul_flops(threads=1)
    assert 1e5 < train < products
    assert 1e5 < generate < products


def test_throughput_leaves_out_the_first_update_and_the_last_ones_asked_for() -> None:
    meter = ThroughputMeter()
    meter.updates = [(10.0, 100), (12.0, 4), (14.0, 6), (99.0, 1000)]
    assert meter.units_per_second(skip_last=1) == pytest.approx((4 + 6) / 4)
    assert meter.units_per_second() == pytest.approx(1010 / 89)
    with pytest.raises(ValueError, match="two updates, and there are 1"):
        meter.units_per_second(skip_last=3)


def test_the_meter_stands_in_for_a_progress_bar() -> None:
    meter = ThroughputMeter()
    with meter(total=3, desc="train") as bar:
        bar.update(2)
        bar.set_postfix_str("words", refresh=False)
        bar.update()
    assert [count for _, count in meter.updates] == [2, 1]


def test_the_meter_stops_a_step_that_goes_on_for_long() -> None:
    meter = ThroughputMeter(seconds=0.0)
    with meter() as bar, pytest.raises(TimeUp):
        for _ in range(9):
            bar.update()
    assert len(meter.updates) == 3
