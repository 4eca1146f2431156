"""How fast this machine is, is measured with the steps that a study runs."""

import pytest

from selfloop.domains.text.measure_speed import measure_speed
from selfloop.throughput import Clock, Enough, matrix_products

MODEL = {"architecture": "llama", "hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "context": 32}
MODEL |= {"vocabulary": 300, "initializer_range": 0.02}
TRAINING = {"epochs": 3.0, "batch_size": 4, "learning_rate": 1e-3, "final_learning_rate": 0.1, "warmup_steps": 0}
TRAINING |= {"weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "clip": 1.0, "evaluations": 2, "precision": "float32"}


@pytest.mark.parametrize("prompt", ["begin-of-text", "first-token"])
def test_both_rates_are_measured_and_below_that_of_matrix_products(prompt: str) -> None:
    sampling = {"temperature": 1.0, "top_k": None, "top_p": None, "prompt": prompt, "max_length": None}
    train, generate = measure_speed(MODEL, TRAINING, sampling, 20.0, threads=1)
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
