"""What others have published of a setting that a study has, too. Light."""

from typing_extensions import TypedDict


class Published(TypedDict):
    """A value of the paper."""

    experiment: str
    sampling: str
    regime: str
    iteration: int
    value: float


class PublishedLaw(TypedDict):
    """A value of a simulated setting.

    Attributes:
        model: the setting, as tables call it.
        source: whose it is.
    """

    experiment: str
    model: str
    metric: str
    regime: str
    iteration: int
    value: float
    source: str
