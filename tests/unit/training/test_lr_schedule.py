"""The learning rate over a run: warm-up, cosine, exponential, plateau."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selfloop.training.lr_schedule import OptimizerConfig, plateaus

SCHEDULE = OptimizerConfig(
    learning_rate=0.05,
    final_learning_rate=0.1,
    warmup_steps=3,
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.95,
    clip=1.0,
    evaluations=3,
    precision="float32",
)


def schedule(**changes: Any) -> OptimizerConfig:
    return OptimizerConfig(**{**SCHEDULE.__dict__, **changes})


def test_the_rate_warms_up_linearly_and_falls_as_half_a_cosine() -> None:
    plan = schedule(learning_rate=1.0, final_learning_rate=0.2, warmup_steps=3)
    assert [plan.learning_rate_at(step, 103) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert plan.learning_rate_at(3 + 50, 103) == pytest.approx(0.6)  # half-way between 1 and 0.2
    assert plan.learning_rate_at(3 + 25, 103) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert plan.learning_rate_at(103, 103) == pytest.approx(0.2)
    rates = [plan.learning_rate_at(step, 103) for step in range(3, 103)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0.2


def test_the_warm_up_is_at_most_a_tenth_of_the_run() -> None:
    plan = schedule(learning_rate=1.0, warmup_steps=1000)
    rates = [plan.learning_rate_at(step, 50) for step in range(50)]
    assert rates[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert rates[6] < 1


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_shortest_runs_have_a_rate(steps: int) -> None:
    assert all(0 < SCHEDULE.learning_rate_at(step, steps) <= SCHEDULE.learning_rate for step in range(steps))


def test_no_warm_up_begins_at_the_peak() -> None:
    assert schedule(warmup_steps=0).learning_rate_at(0, 100) == SCHEDULE.learning_rate


def test_a_constant_rate_stays_at_its_peak() -> None:
    plan = schedule(warmup_steps=0, schedule="constant")
    assert {plan.learning_rate_at(step, 10) for step in range(10)} == {SCHEDULE.learning_rate}


def test_an_exponential_rate_falls_once_an_epoch() -> None:
    plan = schedule(learning_rate=1.0, warmup_steps=0, schedule="exponential", decay=0.5)
    rates = [plan.learning_rate_at(step, 10, steps_per_epoch=2.5) for step in range(10)]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]


def test_a_plateaus_rate_falls_when_nothing_has_improved_for_longer_than_its_patience() -> None:
    plan = schedule(learning_rate=1.0, warmup_steps=0, schedule="plateau", decay=0.5, patience=2)
    monitored = [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    rates = [plan.learning_rate_at(0, 10, monitored=monitored[:points]) for points in range(len(monitored) + 1)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("values", [[5.0, 4.0, 4.1, 4.2, 3.9, 3.9], [-1.0, -1.0, -2.0, -1.5, -1.9, -2.0, -2.0]])
def test_plateaus_are_those_of_torch(values: list[float]) -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    for points, value in enumerate(values, start=1):
        reference.step(value)
        assert optimizer.param_groups[0]["lr"] == 0.5 ** plateaus(values[:points], patience=1)


def test_the_schedule_is_that_of_the_config() -> None:
    section = SimpleNamespace(**SCHEDULE.__dict__, epochs=3, batch_size=8)
    assert OptimizerConfig.of(section) == SCHEDULE
