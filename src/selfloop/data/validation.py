"""The validation split that the schedule plateau watches: neither trained on nor what a model is measured with."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from selfloop.config.section import Section

FRACTION = "validation_fraction"
DEFAULT_FRACTION = 0.05  # of the real train rows, where the data name no validation split


class Scheduled(Protocol):
    """A section `training` with a schedule."""

    @property
    def schedule(self) -> str: ...


class _Watching(Protocol):
    """An experiment whose training has a schedule."""

    @property
    def data(self) -> Section: ...
    @property
    def training(self) -> Scheduled: ...


W = TypeVar("W", bound=_Watching)


def watches(training: Scheduled) -> bool:
    """Whether a training reads the validation split."""
    return training.schedule == "plateau"


def with_validation(experiment: W, keys: Iterable[str]) -> W:
    """The experiment, with a share of its train rows held out if its training needs that, and no key names a split."""
    data = experiment.data
    if watches(experiment.training) and all(getattr(data, key) is None for key in (FRACTION, *keys)):
        # The section is frozen; this is the last step of its own validation.
        object.__setattr__(experiment, "data", data.changed(**{FRACTION: DEFAULT_FRACTION}))
    return experiment


def held_out(data: object, count: int) -> int:
    """How many of `count` rows, or groups of them, a share for validation takes."""
    fraction = getattr(data, FRACTION)
    return 0 if fraction is None else max(1, round(fraction * count))


def problems(data: object, keys: Iterable[str]) -> Iterable[str]:
    """More than one way to a validation split; without a full stop."""
    named = [key for key in (*keys, FRACTION) if getattr(data, key) is not None]
    if named[1:]:
        yield f"data.{named[1]}: {getattr(data, named[1])!r} is given with data.{named[0]}; give one of them"
