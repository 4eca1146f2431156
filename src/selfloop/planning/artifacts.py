"""The artifacts of a study, each with what it depends on: its identity, and the place that its name gives it.

An artifact's identity is a digest of everything that it depends on (settings, seed, and the identities of what it is
made from), and its path is named by that identity.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from selfloop.config.filters import Filter
from selfloop.config.section import Section
from selfloop.data import regimes
from selfloop.domains.protocol import AnyDomain
from selfloop.identity import digest, short
from selfloop.jobs.steps import has_step
from selfloop.planning import paths

REFEREE = 0  # the "iteration" of models that score rows, and are in no chain


@dataclass(frozen=True)
class Experiment:
    """One entry of the config's `experiments`, complete: domain, sections with defaults, regimes, iterations, seeds."""

    name: str
    domain: AnyDomain
    data: Section
    model: Section
    training: Section
    sampling: tuple[Section, ...]
    regimes: tuple[regimes.Regime, ...]
    filters: Mapping[str, Filter]
    filter_contents: Mapping[str, str | None]  # by filter, digest of the files that it names
    iterations: Mapping[str, int]
    seeds: tuple[int, ...]
    simulations: tuple[Mapping[str, object], ...] = ()
    first_iteration: Mapping[str, object] = field(default_factory=dict)  # in place of keys of `training`
    start: str = "scratch"  # what trainings from iteration 2 on start from
    contents: str | None = None  # digest of the user's files that `data` reads, or None where it reads none
    copies: tuple[tuple[str, str], ...] = ()  # of these files, those that hold the same as an earlier one
    model_contents: str | None = None  # as `contents`, of `model`
    evaluation: Mapping[str, object] = field(default_factory=dict)  # what measurements of its models depend on besides
    origin: "Experiment | None" = None  # the one whose models of iteration 1 its models start from

    @cached_property
    def first_training(self) -> Section:
        """How the model of iteration 1 is trained."""
        return self.training.changed(**self.first_iteration)

    def training_of(self, iteration: int) -> Section:
        """How the model of an iteration is trained."""
        return self.first_training if iteration in (REFEREE, 1) else self.training

    @property
    def read(self) -> dict[str, str | None]:
        """What its data, model and filters read, by digests of their settings."""
        sections = {read_by(self.domain, self.data): self.contents}
        filters = {filter_read_by(self.filters[name]): held for name, held in self.filter_contents.items()}
        return {**sections, read_by(self.domain, self.model): self.model_contents, **filters}

    @cached_property
    def data_identity(self) -> str:
        """Digest of what the prepared data depend on."""
        depends_on = [self.domain.name, self.data.plain]
        return digest(depends_on if self.contents is None else [*depends_on, self.contents])

    @cached_property
    def data_name(self) -> str:
        """Folder name of the prepared data."""
        return f"{self.domain.data_slug(self.data)}-{short(self.data_identity)}"

    @cached_property
    def tokenizer(self) -> dict[str, object] | None:
        """What the tokenizer depends on besides the data, or None."""
        if self.origin is not None:
            return {"tokenizer": self.origin.tokenizer_file}
        found = self.domain.tokenizer(self.model)
        return found if found is None or self.model_contents is None else {**found, "contents": self.model_contents}

    @cached_property
    def real_name(self) -> str:
        """Folder name of the real data as models read them, below `paths.DATA`."""
        if self.tokenizer is None:
            return paths.documents(self.data_name)
        return paths.tokenized(self.data_name, self.tokenizer_name)

    @cached_property
    def tokenizer_name(self) -> str:
        """Digest that names the tokenizer among those of the same data."""
        return short(digest(self.tokenizer))

    @cached_property
    def tokenizer_file(self) -> str | None:
        """The tokenizer's path, or None."""
        return None if self.tokenizer is None else paths.tokenizer(self.data_name, self.tokenizer_name)

    @cached_property
    def baseline(self) -> dict[str, object]:
        """What the loss of a predictor that learns nothing depends on besides the data."""
        return self.domain.baseline(self.model)

    @cached_property
    def baseline_name(self) -> str:
        """Digest that names that loss among those of the same data."""
        return short(digest(self.baseline))

    @property
    def baseline_file(self) -> str | None:
        """That loss's path, or None where the domain does not measure it."""
        measured = has_step(self.domain.name, "measure_baseline")
        return paths.baseline(self.real_name, self.baseline_name) if measured else None

    @cached_property
    def architecture(self) -> object:
        """What decides the shapes of its models' weights."""
        if self.origin is not None:
            return {"origin": self.origin.architecture}
        return self.domain.architecture(self.data, self.model)

    @cached_property
    def sized_model(self) -> Section:
        """The section `model` that says how large its models are."""
        return self.model if self.origin is None else self.domain.sized(self.model, self.origin.sized_model)

    @cached_property
    def setting_identity(self) -> str:
        """Digest of what all models of this experiment have in common."""
        model = self.model
        if self.origin is not None:  # by what it is, not by what it is called
            model = self.domain.started_from(model, self.origin.setting_name)
        depends_on = [self.domain.name, self.real_name, model.plain, self.training.plain]
        return digest(depends_on if self.model_contents is None else [*depends_on, self.model_contents])

    @cached_property
    def setting_name(self) -> str:
        """Folder name of what all models of this experiment have in common."""
        return f"{self.model_slug}-{short(self.setting_identity)}"

    @property
    def model_slug(self) -> str:
        """A short readable name of its model."""
        return self.domain.model_slug(self.model) if self.origin is None else f"{self.origin.model_slug}-tuned"

    @property
    def named(self) -> dict[str, str]:
        """What each name of this experiment stands for."""
        names = {self.data_name: self.data_identity, self.setting_name: self.setting_identity}
        if self.baseline_file is not None:
            names[self.baseline_file] = digest(self.baseline)
        return names if self.tokenizer is None else {**names, self.real_name: digest(self.tokenizer)}


@dataclass(frozen=True)
class Model:
    """One trained model of a study, and with it its training set."""

    experiment: Experiment
    seed: int
    iteration: int
    takes: tuple[tuple[regimes.Take, str], ...]  # each with the folder that it takes from
    budget: float | None
    identity: str
    first: str  # name of the iteration-1 model of the same chain
    start: str | None  # name of the model whose weights it starts from
    base: str | None  # name of the model of its experiment's origin
    scores: tuple["Score", ...]  # of the rows that it chooses among, in the order of its takes
    history: str  # the regime that first asked for it, for messages only

    @property
    def name(self) -> str:
        """Its place below `paths.MODELS`."""
        return model_name(self.experiment, self.seed, self.iteration, self.identity)

    @property
    def domain(self) -> AnyDomain:
        """The domain of its experiment."""
        return self.experiment.domain

    @property
    def training(self) -> Section:
        """How it is trained."""
        return self.experiment.training_of(self.iteration)

    @cached_property
    def streams(self) -> str:
        """What the seeds of its random streams derive from, besides their purposes (`identity.stream`)."""
        experiment = self.experiment
        return digest([experiment.domain.name, experiment.architecture, self.seed, self.iteration])

    @cached_property
    def chain_streams(self) -> str:
        """The same for streams that all iterations of a chain share."""
        experiment = self.experiment
        return digest([experiment.domain.name, experiment.architecture, self.seed])

    @property
    def take_table(self) -> list[dict[str, object]]:
        """How many rows it takes from each folder, and which, as JSON values."""
        return [_plain(take) for take, _ in self.takes]

    @property
    def tokenizer_input(self) -> dict[str, str]:
        """The tokenizer as a rule's named input, where the domain has one."""
        return {} if self.experiment.tokenizer_file is None else {"tokenizer": self.experiment.tokenizer_file}

    @property
    def model(self) -> Section:
        """The section `model` as its training has it."""
        model = self.experiment.model
        return model if self.base is None else self.domain.started_from(model, paths.checkpoint(self.base))

    def real(self, split: str) -> str:
        """The real data that it is compared with: "train", "test" or "validation"."""
        return paths.real(self.experiment.real_name, split)


@dataclass(frozen=True)
class Part:
    """One data set sampled from a model."""

    model: str
    sampling: Section
    index: int
    identity: str
    slug: str
    streams: str  # as those of a model
    measured: bool  # whether the domain measures its parts

    @property
    def name(self) -> str:
        """Its place below the model's folder `parts`."""
        return f"{self.slug}-part{self.index}-{short(self.identity)}"

    @property
    def folder(self) -> str:
        """The data set's folder."""
        return paths.part(self.model, self.name)

    @property
    def measurements(self) -> list[str]:
        """What is measured on it: one file, or none."""
        return [paths.part_measurements(self.model, self.name)] if self.measured else []


@dataclass(frozen=True)
class Score:
    """The scores of a part's rows by one scorer.

    Attributes:
        part: the rows.
        scorer: its settings.
        under: name of the model that rows are scored under; None for none.
        own: whether that is the model that sampled the rows, which their path says.
        real: the real train rows that rows are compared with; None for none.
        contents: digest of the files that the scorer names; None for none.
    """

    part: Part
    scorer: Mapping[str, object] = field(hash=False)
    under: str | None = None
    own: bool = False
    real: str | None = None
    contents: str | None = None

    @cached_property
    def name(self) -> str:
        """Digest of the scorer."""
        depends_on = [self.scorer, None if self.own else self.under]
        return short(digest(depends_on if self.contents is None else [*depends_on, self.contents]))

    @property
    def file(self) -> str:
        """Its file."""
        return paths.scores(self.part.model, self.part.name, self.name)


@dataclass(frozen=True)
class Simulation:
    """Whole chains, of many seeds, that one job of the domain computes without files between."""

    domain: AnyDomain
    settings: Mapping[str, object]

    @property
    def name(self) -> str:
        """Its file's name below `paths.SIMULATIONS`, less the suffix."""
        return f"{self.domain.name}-{short(digest(self.settings))}"

    @property
    def file(self) -> str:
        """Its measurements, as a tidy table."""
        return paths.simulation(self.name)


@dataclass(frozen=True)
class Profile:
    """The parts 0 of all chains with one setting, seed and first model: one job compares them with real data.

    One job, not one per part: what they share (real data, model 1, referees) is read and estimated once, and κ needs
    the part of the iteration before.
    """

    experiment: Experiment
    seed: int
    first: str  # name of model 1
    links: tuple[tuple[Part, Part | None], ...]  # each part, and the one before it in its chain

    @property
    def identity(self) -> str:
        """Digest of what it depends on."""
        folders = [[part.folder, None if before is None else before.folder] for part, before in self.links]
        return digest([self.first, folders])

    @property
    def name(self) -> str:
        """Its file's name below `paths.PROFILES`, less the suffix."""
        return f"{self.experiment.setting_name}/seed{self.seed}-{short(self.identity)}"


@dataclass(frozen=True)
class Chain:
    """One model, regime, sampling and seed through its iterations; shared artifacts occur in several chains."""

    experiment: Experiment
    regime: str
    sampling: Section
    seed: int
    models: tuple[Model, ...]
    parts: tuple[tuple[Part, ...], ...]  # per iteration, what that iteration's model samples
    profile: str | None = None  # name of the profile that its parts are in, where its domain has one


def model_name(experiment: Experiment, seed: int, iteration: int, identity: str) -> str:
    """The place of a model below `paths.MODELS`."""
    return f"{experiment.setting_name}/seed{seed}/iteration{iteration}-{short(identity)}"


def read_by(domain: AnyDomain, section: Section) -> str:
    """By what `Experiment.read` knows the files that a section of a domain reads."""
    return digest([domain.name, section.plain])


def filter_read_by(scorer: Filter) -> str:
    """The same of the files that a filter names."""
    return digest(["filter", scorer.command, scorer.of])


def _plain(take: regimes.Take) -> dict[str, object]:
    """A take as JSON values. `asdict` copies each, which takes longest of all where n training sets have n²/2 takes."""
    return {**vars(take), "filter": None if take.filter is None else asdict(take.filter)}
