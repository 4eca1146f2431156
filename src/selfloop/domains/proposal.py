"""What a domain finds in files that a user names, and the studies that it could make of them, for `selfloop init`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from selfloop.config.section import Section
from selfloop.domains.cost import AnyEffort
from selfloop.errors import UserError


@dataclass(frozen=True)
class Choice:
    """The value of a key, and why it has it: the comment beside it in the config."""

    value: object
    why: str


S = TypeVar("S", bound=Section)
Choices = Mapping[str, Choice]
# Reasons that domains share.
NAMED = "what was named"
ON_HUB = "it is not a file here"
TESTED = "held out; every model is measured on them"
CURVE = "points of the learning curve"
PER_STEP = "a step; larger models take larger batches"
RATE = "smaller models learn faster"
WARM_UP = "steps until the learning rate is reached, so that the first ones do no harm"
COSINE = "the learning rate falls, which ends at a lower loss"


@dataclass(frozen=True)
class Draft:
    """The domain's own sections of an experiment."""

    data: Choices
    model: Choices
    training: Choices
    sampling: Choices = field(default_factory=dict)

    def plain(self) -> dict[str, object]:
        """The sections without the reasons."""
        sections = {name: _values(getattr(self, name)) for name in ("data", "model", "training")}
        return sections | ({"sampling": [_values(self.sampling)]} if self.sampling else {})


def _values(choices: Choices) -> dict[str, object]:
    return {key: choice.value for key, choice in choices.items()}


@dataclass(frozen=True)
class Scale:
    """A size of study, from the least data that its model needs upwards.

    Attributes:
        draft: its sections, of a number from 1 (the least) on: so much more is trained on, or trained longer.
        most: the largest such number.
    """

    draft: Callable[[float], Draft]
    most: float


@dataclass(frozen=True)
class Found:
    """What there is in the user's files.

    Attributes:
        name: of the experiment.
        said: sentences for the user on what was found, and what would be dropped and why.
        scales: sizes of study, from small to large.
        effort: the cost of the jobs of an experiment with these sections `data` and `model`.
    """

    name: str
    said: tuple[str, ...]
    scales: tuple[Scale, ...]
    effort: Callable[[Any, Any], AnyEffort]


def too_few(count: int, unit: str, least: int, where: str) -> UserError:
    """The error of data that no study can be made of."""
    units = unit.removesuffix("s") if count == 1 else unit
    return UserError(f"{where} holds {count:,} {units} that can be used; a study needs at least {least}.")


def common_name(paths: Sequence[Path]) -> str:
    """The name of an experiment on some files: that of the first, without its suffixes."""
    stem = paths[0].name.split(".", 1)[0] or "mine"
    letters = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in stem)
    return letters.strip("._-").lower() or "mine"


def defaults(section: type[S], **given: object) -> S:
    """A section with some keys given, for what needs one before there is a config."""
    return section.model_validate(given)
