"""What a domain tells the study. The modules named here are light: they are imported while the Snakefile is parsed.

A domain is one folder below `selfloop/domains`:

    config.py     the sections of an experiment of the domain: Data, Model, Training, Sampling
    domain.py     DOMAIN, an instance of a subclass of `Domain`, and Experiment, which has these sections
    steps/        one module with run(job) per rule:
      prepare_data      real documents → data sets `train`, `test` and `validation` (no rows: `no_validation`), and
                        `reserve`, where there is that output: `data` has the key `reserve`
      train_tokenizer, tokenize     only if `Domain.tokenizer` asks for them
      train             training set → checkpoint and, last of all, the learning curve, which marks it as finished; if
                        `training` has the key `start`, it starts from the checkpoint `start`, where there is that input
      generate          checkpoint → one part, a data set of as many rows as the real train split
      evaluate_model    checkpoint → JSON of named measurements
      evaluate_part     part → the same of it; may be left out
      score             part (and a checkpoint) → a score of each row (`scoring.scores`), only if `Domain.scorers`
      measure_baseline  the headline measurements of a predictor that learns nothing, as split "test-baseline"; may be
                        left out: then no share of what models had learnt is shown
      measure_profile   the parts of one seed's chains → how they differ from held-out real rows, only if
                        `Domain.profile`
      write_samples     a table of samples of every model, only if `Domain.samples`
      simulate_chains   whole chains in one job, only if `Domain.simulations` asks for them
      and one for each of `Domain.analyses`
    cost.py       effort(data, model, real, rows) → an `Effort`: what each job costs before any has run; of the sections
                  `data` and `model`, the folder of the real data as models read them (prepared or not), and the train
                  rows that the user gives, or None. Without it, `selfloop estimate` only counts jobs
    measure_speed.py   measure_speed(data, model, training, sampling, units, threads) → FLOP/s of training and of
                  sampling on this machine, with rows of `units` units; otherwise a share of matrix products is assumed
    proposal.py   what `selfloop init` makes of a user's files, if they are of this domain (`domains.proposal`):
                  files_of(path) → those that it reads; found(named, paths) → a `Found`; of_hub(name, builder, rows) →
                  the same of a data set of the hub, or None

Each step is its own module so that the code digest of a rule covers what that step uses and nothing else.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from selfloop.config.filters import Filter
from selfloop.config.models import Experiment
from selfloop.config.section import Section
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Limit, Quantity
from selfloop.data.regimes import BUILT_IN, Regime
from selfloop.numbers import short, size

E = TypeVar("E", bound=Experiment)
D = TypeVar("D", bound=Section)
M = TypeVar("M", bound=Section)
S = TypeVar("S", bound=Section)

# One chain at one iteration: its experiment, model (title), regime, sampling, seed, iteration; and the paths of the
# model's "checkpoint", of its "part" number 0, and of the real splits "train" and "test".
Artifacts = Mapping[str, Any]


def _all(artifacts: Sequence[Artifacts]) -> Sequence[Artifacts]:
    return artifacts


def first_seeds(artifacts: Sequence[Artifacts]) -> list[Artifacts]:
    """Of an analysis that shows artifacts: those of each experiment's first seed."""
    seeds: dict[str, int] = {}
    for row in artifacts:
        seeds.setdefault(row["experiment"], row["seed"])
    return [row for row in artifacts if row["seed"] == seeds[row["experiment"]]]


@dataclass(frozen=True)
class Analysis:
    """A step that shows something of a domain, of the study's tidy tables or of its artifacts.

    Attributes:
        step: its module among the domain's steps, with run(job); the files to write are `figures`, `tables` (CSV) and
            `pages` (the tables in Markdown) of `job.output`.
        figures: names of figures, for results/figures/<domain>-<name>.{png,svg}.
        tables: names of tables, for results/tables/<domain>-<name>.{csv,md}.
        title: the key of `figures.titles` that titles all its figures; if empty, each has its own.
        asked: what it must know of the config, as a JSON value (`job.params.asked`).
        reads: "metrics" or "learning_curves" (that tidy table is an input of its name), and any of "checkpoint",
            "part", "train", "test": which paths of the chosen artifacts are the job's inputs.
            `job.params.artifacts` is a list of the chosen, without the paths that are not read.
        chosen: of all artifacts of the domain's chains, in the study's order, those that it reads.
    """

    step: str
    figures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    title: str = ""
    asked: object = None
    reads: tuple[str, ...] = ("metrics",)
    chosen: Callable[[Sequence[Artifacts]], Sequence[Artifacts]] = _all


PRELOAD = (
    "torch",
    "torch.nn.functional",
    "numpy",
    "pyarrow.parquet",
    "pandas",
    "pydantic",
    "safetensors.torch",
    "tqdm",
)


class Domain(ABC, Generic[E, D, M, S]):
    """One kind of data and model: what the study asks of it. E is its experiment; D, M, S are sections of that.

    A new domain says what has no default here, and overrides what is different in it.

    Attributes:
        name: the folder's name and the config's `domain:`.
        title: the name for readers.
        described: keys of `data` that tell a reader how large a study is.
        experiment: one entry of the config's `experiments`, with the domain's own sections.
        headline: the measurement that answers "does it collapse?"; the main figure and table show it.
        curve: what learning curves show, or None where models are not trained step by step.
        synthetic: what is shown of the sampled parts; nothing is, if it is empty.
        others: further quantities that claims are checked with.
        laws: quantities of simulations that are drawn with the regimes' laws, where there is one.
        profile: what the phenomena of collapse are decided by; its steps then have measure_profile.
        profiled: the measures of it that a figure shows; its steps then have plot_profile. A domain with further
            figures of the profile has them all among its `analyses`.
        adequate: what a first model must reach before a loop is judged.
        samples: whether there is a table of samples.
        scorers: what filters may score its rows by, with the step `score`.
        weights: whether its step `train` weights the rows of a training set (`training_set.weights`).
        preload: packages that its steps import and that take long to import; steps fork from a process that has them.
    """

    name: str
    title: str
    described: tuple[str, ...] = ()
    experiment: type[E]
    headline: Quantity
    curve: Quantity | None = None
    synthetic: tuple[Quantity, ...] = ()
    others: tuple[Quantity, ...] = ()
    laws: tuple[Quantity, ...] = ()
    adequate: tuple[Limit, ...] = ()
    profile: Profile | None = None
    profiled: tuple[Measure, ...] = ()
    samples: bool = False
    scorers: tuple[str, ...] = ()
    weights: bool = False
    preload: tuple[str, ...] = PRELOAD

    @abstractmethod
    def data_slug(self, data: D) -> str:
        """A short readable name of a `data` section, for paths."""

    @abstractmethod
    def model_slug(self, model: M) -> str:
        """A short readable name of a `model` section, for paths."""

    @abstractmethod
    def model_title(self, model: M) -> str:
        """The name of a model in tables and figures."""

    @abstractmethod
    def sampling_slug(self, sampling: S) -> str:
        """A short readable name of an entry of `sampling`, for paths."""

    def sampling_title(self, sampling: S) -> str:
        """The name of an entry of `sampling` in tables and figures."""
        return self.sampling_slug(sampling)

    def architecture(self, data: D, model: M) -> object:
        """What decides the shapes of a model's weights, as a JSON value: models alike in it share random numbers."""
        return model.plain

    def input_files(self, data: D) -> list[str]:
        """The user's own files that a `data` section reads; a change of them reruns everything."""
        return []

    def model_files(self, model: M) -> list[str]:
        """The same that a `model` section reads."""
        return []

    def origin(self, model: M) -> str | None:
        """The experiment of the study whose models of iteration 1 a `model` section starts from, or None."""
        return None

    def started_from(self, model: M, checkpoint: object) -> M:
        """A `model` section that has an origin, with that model's checkpoint in its place."""
        return model

    def sized(self, model: M, origin: M) -> M:
        """Of a `model` section that has an origin, and that one's: the section that says how large its models are."""
        return origin

    def origin_problems(self, experiment: E, origin: E) -> Iterable[str]:
        """What is wrong with an experiment and its origin; a sentence each, beginning with the experiment's key."""
        return ()

    def trained(self, experiment: E) -> Section:
        """An experiment's `training` without the key `start`, which models from iteration 2 on have in their names."""
        return experiment.training.without("start")

    def watches_validation(self, training: Section) -> bool:
        """Whether a training reads the validation split; the rule train then has it as its input `validation`."""
        return getattr(training, "schedule", None) == "plateau"

    def tokenizer(self, model: M) -> dict[str, object] | None:
        """What the tokenizer depends on besides the data, or None where the domain has no tokenizer."""
        return None

    def evaluation(self, experiment: E) -> dict[str, object]:
        """What the step evaluate_model has of the experiment in its params, as JSON values."""
        return {}

    def preload_of(self, model: M) -> tuple[str, ...]:
        """Further packages as in `preload`, which a `model` section alone needs."""
        return ()

    def baseline(self, model: M) -> dict[str, object]:
        """What the loss of a predictor that learns nothing depends on besides the data."""
        return {}

    def problems(self, experiment: E) -> Iterable[str]:
        """What is wrong with an experiment that its sections cannot say; a sentence each, beginning with the key."""
        return ()

    def warnings(self, experiment: E) -> Iterable[str]:
        """What of an experiment is allowed and likely not wanted; a sentence each, beginning with the key."""
        return ()

    def shared_steps(self, experiment: E) -> Iterable[str]:
        """The steps of which several processes, on a GPU each, may share a job: of "train" and "generate"."""
        return ()

    def scorer_problems(self, experiment: E, scorer: Filter) -> Iterable[str]:
        """What is wrong with a filter's scorer for an experiment; a sentence each, beginning with the key."""
        return ()

    def known_rows(self, experiment: E) -> tuple[int, int] | None:
        """The most real train rows that there can be, and the fewest rows that a model is trained on.

        None where that is not known before the data are read.
        """
        return None

    def simulations(self, experiment: E, regimes: Mapping[str, Regime] = BUILT_IN) -> Sequence[Mapping[str, object]]:
        """The settings of an experiment's simulations, one job each; JSON values. `regimes`: all there are, by name."""
        return ()

    def simulated(self, experiments: Mapping[str, E], regimes: Mapping[str, Regime]) -> Sequence[Quantity]:
        """Those of `laws` that the simulations of experiments measure."""
        return ()

    def own_settings(self, experiments: Mapping[str, E]) -> list[dict[str, str]]:
        """By experiment, the simulated setting whose law its own chains follow: {experiment, label}."""
        return []

    def analyses(self, experiments: Mapping[str, E], regimes: Mapping[str, Regime] = BUILT_IN) -> Sequence[Analysis]:
        """Of the domain's experiments by name, its own figures and tables. `regimes`: all there are, by name."""
        return ()

    def samplings(self, experiment: E) -> Sequence[S]:
        """The entries of an experiment's `sampling`."""
        sampling: Sequence[Any] = experiment.sampling
        return sampling

    def sampling_titles(self, experiments: Mapping[str, E]) -> dict[str, list[str]]:
        """By experiment, the names of its samplings in tables and figures."""
        return {name: list(map(self.sampling_title, self.samplings(entry))) for name, entry in experiments.items()}


MOST_PARAMETERS = 10**11
BYTES_TO_TRAIN = 16  # per parameter: weight, gradient and Adam's two moments, in float32


def too_large(parameters: int, keys: str) -> list[str]:
    """The problem of a model that no machine trains as this workflow does: on one device, or copies on several."""
    if parameters <= MOST_PARAMETERS:
        return []
    needed = size(parameters * BYTES_TO_TRAIN) if parameters < 10**30 else "more than any machine's"
    return [
        f"model: it would have {short(min(parameters, 10**24))} parameters ({keys}), and need {needed} of memory; at "
        f"most {short(MOST_PARAMETERS)} parameters."
    ]


AnyDomain: TypeAlias = Domain[Any, Any, Any, Any]
FOLDER = Path(__file__).parent


def domain_names() -> list[str]:
    """The domains there are: the folders beside this file that have a domain.py."""
    return sorted(path.parent.name for path in FOLDER.glob("*/domain.py"))


def load_domain(name: str) -> AnyDomain:
    """The domain of that name.

    Raises:
        ModuleNotFoundError: there is none.
    """
    domain: AnyDomain = importlib.import_module(f"selfloop.domains.{name}.domain").DOMAIN
    return domain
