"""Batches are made one step ahead for a GPU, and are those of their steps, whoever makes them."""

import threading

import numpy as np
import pytest
import torch

from selfloop.training.transfer import Ahead, to_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


class Batches:
    """Gives each step its number, and notes which thread asked for it."""

    def __init__(self) -> None:
        self.made: list[tuple[int, bool]] = []

    def __call__(self, step: int) -> int:
        self.made.append((step, threading.current_thread() is threading.main_thread()))
        if step == 5:
            raise ArithmeticError("the fifth")
        return step


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The devices that threads have chosen; there is no GPU here."""
    devices: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    return devices


def test_on_a_cpu_batches_are_made_when_they_are_asked_for() -> None:
    batches = Batches()
    with Ahead(batches, 3, CPU) as ahead:
        assert [ahead(0), ahead(1)] == [0, 1]
    assert batches.made == [(0, True), (1, True)]


def test_for_a_gpu_a_thread_with_that_gpu_makes_the_next_one(chosen: list[torch.device]) -> None:
    batches = Batches()
    with Ahead(batches, 4, CUDA) as ahead:
        assert [ahead(step) for step in range(1, 4)] == [1, 2, 3]
    assert batches.made == [(1, True), (2, False), (3, False)]  # none after the last
    assert chosen == [CUDA]


@pytest.mark.usefixtures("chosen")
def test_another_step_than_the_next_one_gets_its_own_batch() -> None:
    with Ahead(Batches(), 4, CUDA) as ahead:
        assert [ahead(0), ahead(2), ahead(3)] == [0, 2, 3]


@pytest.mark.usefixtures("chosen")
def test_an_error_comes_at_the_step_whose_batch_it_is() -> None:
    with Ahead(Batches(), 9, CUDA) as ahead:
        assert ahead(4) == 4
        with pytest.raises(ArithmeticError, match="the fifth"):
            ahead(5)


def test_what_comes_to_a_cpu_is_what_was_there() -> None:
    array = np.arange(5)
    assert to_device(array, "cpu").tolist() == array.tolist()
    tensor = torch.arange(3)
    assert to_device(tensor, CPU) is tensor
