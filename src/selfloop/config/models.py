"""The sections of the config that are the same for every domain, and the table of config/resources.yaml."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from selfloop.config.filters import Filter
from selfloop.config.section import Distinct, Section

Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]  # what the column of the measurements' table holds


def _name(letters: str, allowed: str) -> AfterValidator:
    """A check of a key that the user makes up."""

    def check(name: str) -> str:
        if name[:1] in "._-" or set(name) - set(letters):
            raise PydanticCustomError("name", "name", {"allowed": allowed})
        return name

    return AfterValidator(check)


_SMALL = "abcdefghijklmnopqrstuvwxyz0123456789-"
ExperimentName = Annotated[
    str,
    _name(
        _SMALL + _SMALL.upper() + "._",
        "Letters, digits, dots, underscores and hyphens, beginning with a letter or a digit.",
    ),
]
# With the numbers of a grid's points, such as mix-a0.1.
RegimeName = Annotated[
    str, _name(_SMALL + ".", "Small letters, digits, dots and hyphens, beginning with a letter or a digit.")
]
Variable = Annotated[str, _name("abcdefghijklmnopqrstuvwxyz", "Small letters.")]


class Experiment(Section):
    """A model, how it is trained and sampled, and a data set, run through all its regimes and seeds."""

    unsaid: ClassVar = frozenset({"like"})

    like: str | None = None
    """The name of another experiment that gives every key not said here. Of `data`, `model`, `training` and
    `simulation` the keys are merged; everything else is replaced as a whole.
    """
    domain: str
    """The kind of data and model, each with a chapter below. The next sections are the domain's own."""
    data: Section
    """Where the real data come from."""
    model: Section
    """The model's architecture and size."""
    training: Section
    """How each model is trained."""
    sampling: Sequence[Section]
    """How data sets are sampled from a model, as a list. Each entry gives chains of its own, which share the first
    model.
    """
    regimes: Annotated[Distinct[str], Field(min_length=1)]
    """A list of regimes by name: built-in ones, or your own from the top-level section `regimes`."""
    iterations: Count | Annotated[dict[str, Count], Field(min_length=1)]
    """Model-fitting iterations of every chain, or one number per regime. Iteration 1 is trained on the real rows. For
    example `{replace: 8, accumulate: 4}`.
    """
    seeds: Annotated[Distinct[Seed], Field(min_length=1)]
    """One chain is run per seed. A list of integers from 0 to 2⁶³ - 1. What chains of one seed do alike, whatever their
    regime, sampling and training, they do with the same random numbers: initial weights, the order of equally many
    rows, and what is drawn for a sample.
    """

    def iterations_of(self, regime: str) -> int:
        """Model-fitting iterations of the chains of one of its regimes."""
        return self.iterations if isinstance(self.iterations, int) else self.iterations[regime]


class Part(Section):
    """A line of a regime's table."""

    unsaid: ClassVar = frozenset({"last", "by_age", "weight", "rows", "filter", "random"})

    origin: Annotated[Literal["real", "fresh", "previous", "all"], Field(alias="from")]
    """`real`: the real train rows; `fresh`: real rows of the reserve (`data.reserve`), others at every iteration;
    `previous`: parts of model n-1; `all`: parts of every model before n.
    """
    amount: Amount | Literal["iteration"] | Annotated[list[Amount], Field(min_length=1)] = 1.0
    """Rows in multiples of the real train rows: a number; `iteration` for n; or a list with one number per iteration
    from the second on, whose last number repeats. 2.5 means two whole parts and half of a third, sampled with a seed
    of its own; from `real`, all real rows twice and half of them once more; 0 means none.
    """
    last: Count | None = None
    """With `from: all`: only the newest models, this many; null for every one."""
    by_age: Annotated[list[Amount], Field(min_length=1)] | None = None
    """With `from: all`, in place of `amount`: a list with one amount per age of a part. The first is that of the parts
    of model n-1, the second that of model n-2, and the last one repeats.
    """
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How much each of its rows counts in the loss, relative to the rows of other lines."""
    filter: str | None = None
    """With `from: previous` or `all`: a filter of the section `filters`, which chooses the rows among more candidates.
    The amount is that of the chosen rows.
    """
    random: bool = False
    """With a filter: choose as many rows at random, of the same candidates."""
    rows: Literal["drawn", "same"] = "drawn"
    """Which rows of a data set a fraction of it is: `drawn` with a seed of each iteration's own, or the `same` at every
    iteration.
    """


class RegimeGrid(Section):
    """The variables of a grid of regimes."""

    grid: Annotated[dict[Variable, Annotated[Distinct[Amount], Field(min_length=1)]], Field(min_length=1)]
    """Lists of numbers by the name of a variable."""


class Regime(Section):
    """What the model of iteration 2 and every later one is trained on, as a table of parts."""

    unsaid: ClassVar = frozenset({"budget", "grid", "control"})

    grid: Annotated[dict[Variable, Annotated[Distinct[Amount], Field(min_length=1)]], Field(min_length=1)] | None = None
    """Lists of numbers by the name of a variable, such as `{a: [0.1, 1], b: [0, 4]}`, where `a` and `b` stand in place
    of numbers below. The table then stands for a regime at each point of the grid, named `mix-a0.1-b4`; an experiment
    that names `mix` has them all.
    """
    parts: Annotated[list[Part], Field(min_length=1)]
    """The lines of the table, in the order in which their rows are concatenated."""
    control: Literal["random"] | None = None
    """`random` adds the regime's twin, `verified-random` of `verified`: the same candidates, and as many rows of them,
    chosen at random. An experiment that names the regime has both.
    """
    budget: Annotated[float, Field(gt=0)] | None = None
    """Rows of the whole training set in multiples of the real train rows; more are subsampled, uniformly; null for no
    limit.
    """


class Checkpointing(Section):
    """How often a training saves its resume checkpoint. It cannot change results."""

    every_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Seconds between resume checkpoints; longer where saving would take more than 2 % of the training's time. 0 saves
    after every step.
    """


class Figures(Section):
    """How figures look. It cannot change what is trained."""

    titles: dict[str, str] = {}
    """Titles by domain and figure (`text-headline`, `text-synthetic`, `text-learning-curves`, or one of a domain's own:
    `image-samples`), in place of the default ones; only of figures that the study makes.
    """
    formats: Annotated[Distinct[Literal["png", "svg"]], Field(min_length=1)] = ["png", "svg"]
    """A list of the file formats of every figure."""


class Tables(Section):
    """What the tables show. It cannot change what is trained."""

    samples_per_model: Count = 2
    """Sampled documents shown per model in the table of samples."""
    sample_characters: Annotated[int, Field(ge=20)] = 400
    """Characters shown of each sampled document."""


class Study(Section):
    """What a study consists of."""

    experiments: Annotated[dict[ExperimentName, dict[str, object]], Field(min_length=1)]
    """The experiments by name."""
    regimes: dict[RegimeName, Regime] = {}
    """Your own regimes by name, each a table of parts."""
    filters: dict[RegimeName, Filter] = {}
    """Filters by name, for the lines of regimes."""
    checkpointing: Checkpointing = Checkpointing()
    """How often a training saves its resume checkpoint."""
    figures: Figures = Figures()
    """How figures look."""
    tables: Tables = Tables()
    """What the tables show."""


class Request(Section):
    """What a step asks of the machine; a key that is left out is that of the default."""

    gpu: Annotated[int, Field(ge=0)] | None = None
    """GPUs."""
    mem_mb: Count | None = None
    """Megabytes of memory."""
    runtime: Count | None = None
    """Minutes."""
    cpus: Count | None = None
    """CPUs where the step has no GPU."""
    cpus_per_gpu: Count | None = None
    """CPUs for each GPU, where the step has one; null for `cpus`."""
    tflops: Annotated[float, Field(gt=0)] | None = None
    """TFLOP/s that the step reaches at least on one of the cluster's GPUs, by which its time limit follows from its
    work; null for `runtime` in any case.
    """


class WholeRequest(Request):
    """The same with every key."""

    gpu: Annotated[int, Field(ge=0)]
    mem_mb: Count
    runtime: Count
    cpus: Count


class Requests(Section):
    """What the steps of a domain ask for."""

    prepare_data: Request = Request()
    train_tokenizer: Request = Request()
    tokenize: Request = Request()
    measure_baseline: Request = Request()
    train: Request = Request()
    generate: Request = Request()
    evaluate_model: Request = Request()
    evaluate_part: Request = Request()
    score: Request = Request()
    measure_profile: Request = Request()
    simulate_chains: Request = Request()


class WholeRequests(Requests):
    """The same of every step."""

    prepare_data: WholeRequest
    train_tokenizer: WholeRequest
    tokenize: WholeRequest
    measure_baseline: WholeRequest
    train: WholeRequest
    generate: WholeRequest
    evaluate_model: WholeRequest
    evaluate_part: WholeRequest
    score: WholeRequest
    measure_profile: WholeRequest
    simulate_chains: WholeRequest


class Resources(Section):
    """What each step asks for, by domain."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Requests]

    gres: str | None = None
    """What --gres is given on a cluster that takes no --gpus, without the number: `gpu` or `gpu:MODEL`."""
    default: WholeRequests
    """What a step asks for in a domain that says nothing else."""
