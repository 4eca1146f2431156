"""Ctrl-C, SIGTERM and SIGHUP stop a step in an orderly way: first it saves what it has to keep.

The first of these signals raises `Stopped` wherever the step is. A training holds it back (`held_back`) except where
it has nothing to save, and ends at the next step.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

VARIABLE = "SELFLOOP_STOP_SIGNALS"  # their numbers: the shell between Snakemake and a step ignores Ctrl-C


class Stopped(BaseException):
    """A stop signal arrived; what the step has to keep is saved."""

    def __init__(self, what: str = "stopped") -> None:
        super().__init__(f"{what}; run the same command to go on.")


class Stop:
    """Whether a stop signal has arrived, and whether it is held back."""

    def __init__(self) -> None:
        self.arrived = self.held_back = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        first, self.arrived = not self.arrived, True
        if first and not self.held_back:  # later ones must not disturb how the step ends
            raise Stopped


_current: Stop | None = None


def signals() -> list[int]:
    """The signals that stop steps, without those that the user had this run ignore, as `nohup` does."""
    if VARIABLE in os.environ:
        return [int(number) for number in os.environ[VARIABLE].split()]
    every = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in every if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def caught(numbers: Sequence[int] | None = None, is_last: bool = False) -> Iterator[Stop]:
    """Within, the first stop signal raises `Stopped` in the main thread, and later ones do nothing.

    Args:
        numbers: the signals, `signals()` if None.
        is_last: this process ends after the block; if one has arrived, later ones do nothing there, either.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield _current or Stop()
        return
    stop = _current = Stop()
    before = {number: signal.signal(number, stop) for number in (signals() if numbers is None else numbers)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_last and stop.arrived else handler)
        _current = None


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Within, a stop signal raises nothing; yields a function that returns whether one has arrived."""
    with caught() as stop:
        outer, stop.held_back = stop.held_back, True
        try:
            yield lambda: stop.arrived
        finally:
            stop.held_back = outer


@contextmanager
def let_through() -> Iterator[None]:
    """Within, inside of `held_back`, a stop signal raises `Stopped` again, also one that has arrived before."""
    with caught() as stop:
        outer, stop.held_back = stop.held_back, False
        try:
            if stop.arrived:
                raise Stopped
            yield
        finally:
            stop.held_back = outer


def forward(send: Callable[[int], object]) -> None:
    """From now on, call `send` for each stop signal: another process does the work."""

    def handler(number: int, _: object) -> None:
        if _current is not None:
            _current.arrived = True
        with suppress(ProcessLookupError):
            send(number)

    for number in signals():
        signal.signal(number, handler)
