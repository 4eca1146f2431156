"""What a study's page is about, as `planning.shown.Showing.report` says it."""

from pydantic import BaseModel

from selfloop.data.profile import Profile
from selfloop.data.published import Published
from selfloop.data.quantity import Limit, Quantity


class Basis(BaseModel):
    """What the phenomena of collapse are decided by in a domain.

    Attributes:
        adequate: what its first models must reach.
    """

    name: str
    headline: Quantity
    adequate: list[Limit]
    profile: Profile | None


class Shown(BaseModel):
    """Figures and tables of one rule, by name; `caption` is a file's name."""

    rule: str
    caption: str
    figures: list[str]
    tables: list[str]


class Domain(Basis):
    """A domain of the study.

    Attributes:
        described: the keys of `data` that the page shows.
        samplings: by experiment, what tables call its samplings.
        published: the paper's values in the same setting.
    """

    title: str
    described: list[str]
    synthetic: list[Quantity]
    others: list[Quantity]
    samplings: dict[str, list[str]]
    published: list[Published]
    shown: list[Shown]


class Experiment(BaseModel):
    """An experiment, as far as the page tells of it."""

    domain: str
    data: dict[str, object]
    training: dict[str, object]
    sampling: list[dict[str, object]]
    regimes: list[str]
    iterations: int | dict[str, int]
    seeds: list[int]

    def iterations_of(self, regime: str) -> int:
        """Model-fitting iterations of the chains of a regime."""
        return self.iterations if isinstance(self.iterations, int) else self.iterations[regime]


class Study(BaseModel):
    """A study.

    Attributes:
        controls: the regimes that are controls.
        config: what it says of experiments and regimes.
    """

    domains: list[Domain]
    experiments: dict[str, Experiment]
    controls: list[str]
    config: dict[str, object]

    @property
    def headlines(self) -> dict[str, Quantity]:
        """By domain, its headline quantity."""
        return {domain.name: domain.headline for domain in self.domains}
