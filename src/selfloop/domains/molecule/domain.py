"""What the study asks of the molecule domain while it is planned: names, sizes, and what is wrong with the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import log
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfloop.config import models
from selfloop.config.section import first_of
from selfloop.data.profile import Measure, Profile, Remark
from selfloop.data.quantity import Limit, Quantity
from selfloop.data.regimes import BUILT_IN, Regime
from selfloop.data.validation import held_out, with_validation
from selfloop.domains.molecule.config import VALIDATION_KEYS, Data, Model, Sampling, Training
from selfloop.domains.molecule.data import sources
from selfloop.domains.protocol import Analysis, Artifacts, Domain, too_large
from selfloop.identity import slug


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["molecule"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]

    @model_validator(mode="after")
    def _watches_a_split(self) -> Self:
        return with_validation(self, VALIDATION_KEYS)


LOSSES = (
    Quantity("loss_total", "test", "Test loss, total"),
    Quantity("loss_global", "test", "Test loss, global"),
    Quantity("loss_local", "test", "Test loss, local"),
)
# Keys of `sampling` that shape the samples, besides the visited levels, with the schema's defaults, which a title
# leaves out. `batch_size` is none of them.
SHAPING = {"step_size": 1.0e-6, "global_below": 0.5, "global_weight": 1.0, "clip": 1000.0}
TABLE_ROWS = 100  # of the network's embeddings by element and by type of pair


def parameter_count(model: Model) -> int:
    """Trainable parameters; a test compares it with the module's own count."""
    hidden = model.hidden_size
    square = hidden * hidden
    edges = TABLE_ROWS * hidden + 2 * hidden + square + hidden
    encoders = edges * (2 if model.edge_encoder == "separate" else 1)
    head = 2 * square + hidden + (hidden + 1) * (hidden // 2) + hidden // 2 + 1
    layers = model.global_layers * (5 * square + 4 * hidden) + model.local_layers * 2 * (square + hidden)
    return encoders + 2 * TABLE_ROWS * hidden + layers + 2 * head


def shown(artifacts: Sequence[Artifacts]) -> Sequence[Artifacts]:
    """What the panel of conformers shows: replace and accumulate (or the first two regimes that there are), of the
    first experiment, sampling and seed, each at the first, the second and the last iteration."""
    first = artifacts[0]
    same = [row for row in artifacts if all(row[key] == first[key] for key in ("experiment", "sampling", "seed"))]
    regimes = list(dict.fromkeys(row["regime"] for row in same))
    wanted = [name for name in ("replace", "accumulate") if name in regimes] or regimes[:2]
    chosen = []
    for regime in wanted:
        own = [row for row in same if row["regime"] == regime]
        last = max(row["iteration"] for row in own)
        chosen += [row for row in own if row["iteration"] in {1, 2, last}]
    return chosen


BROKEN = Quantity("broken_bonds", "test", "Samples with broken bonds")


RMSD = Measure("pairwise_rmsd", "RMSD of two samples of a molecule", "Å", floor=0.0)
COVERED = Measure("cov_r", "Real conformations covered", floor=0.0, ceiling=1.0)
TORSIONS = Measure("torsion_entropy", "Entropy of torsion angles", "nats", ceiling=log(36))
KAPPA = Measure("kappa", "Bias of bond lengths carried on, κ", even=1.0)
CLASHES = Measure("clashes", "Samples with clashes", floor=0.0, ceiling=1.0)
MATCHED = Measure("mat_r", "Distance of real conformations to samples", "Å")
BIAS = Measure("bond_bias", "Bias of bond lengths", "Å")
APART = Measure("fallen_apart", "Samples that fell apart", floor=0.0, ceiling=1.0)
REMARKS = (
    Remark(APART.name, "Samples with a bond over twice as long as the real one are left out of all other measures"),
    Remark(
        "trained_reference",
        "Conformations are compared with real ones that models are trained on, as the source has too few others of "
        "these molecules",
        values=False,
    ),
)


class Molecule(Domain[Experiment, Data, Model, Sampling]):
    """What the study asks of molecule data."""

    name = "molecule"
    title = "Molecules"
    described = ("source", "rows", "molecules", "conformers")
    experiment = Experiment
    scorers = ("energy", "broken-bonds", "oracle", "detector", "command")
    weights = True
    headline = LOSSES[0]
    curve = LOSSES[0]
    synthetic = (
        Quantity("mat_r", "test", "MAT-R", "Å"),
        Quantity("mat_p", "test", "MAT-P", "Å"),
        Quantity("cov_r_1.25", "test", "COV-R at 1.25 Å"),
        Quantity("cov_p_1.25", "test", "COV-P at 1.25 Å"),
        Quantity("cov_r_0.5", "test", "COV-R at 0.5 Å"),
        Quantity("cov_p_0.5", "test", "COV-P at 0.5 Å"),
        Quantity("bond_error", "test", "Mean bond length error", "Å"),
        BROKEN,
        Quantity("clashes", "test", "Samples with clashes"),
    )

    adequate = (Limit(BROKEN, 0.2),)
    profile = Profile(spread=RMSD, recall=COVERED, flat=(TORSIONS,), like=COVERED, carried=KAPPA, remarks=REMARKS)
    profiled = (RMSD, COVERED, MATCHED, TORSIONS, BIAS, CLASHES, APART, KAPPA)

    def architecture(self, data: Data, model: Model) -> list[object]:
        return [model.hidden_size, model.global_layers, model.local_layers, model.edge_encoder]

    def input_files(self, data: Data) -> list[str]:
        return sources.input_files(data)

    def shared_steps(self, experiment: Experiment) -> tuple[str, ...]:
        """See `Domain`."""
        return ("train", "generate")

    def data_slug(self, data: Data) -> str:
        """A readable name for the data: rdkit, the file's stem, or the folder's name."""
        if data.source == "rdkit":
            return "rdkit"
        first = first_of(data.folder if data.source == "rdkit_folder" else data.train)
        word = first.rstrip("/").rsplit("/", 1)[-1].split(".", 1)[0]
        return slug(word)

    def model_slug(self, model: Model) -> str:
        """For example geodiff-h128-g6-l4."""
        return f"geodiff-h{model.hidden_size}-g{model.global_layers}-l{model.local_layers}"

    def model_title(self, model: Model) -> str:
        """For example GeoDiff (0.79M)."""
        return f"GeoDiff ({parameter_count(model) / 1e6:.2f}M)"

    def sampling_slug(self, sampling: Sampling) -> str:
        """For example strided50, or all."""
        return "all" if sampling.schedule == "all" else f"{sampling.schedule}{sampling.steps}"

    def sampling_title(self, sampling: Sampling) -> str:
        """For example strided, 50 steps, clip=100.0."""
        words = ["all steps"] if sampling.schedule == "all" else [sampling.schedule, f"{sampling.steps} steps"]
        words += [f"{key}={value}" for key, default in SHAPING.items() if (value := getattr(sampling, key)) != default]
        return ", ".join(words)

    def baseline(self, model: Model) -> dict[str, object]:
        """The noise, and the pairs that are within the cutoff."""
        return model.model_dump(include={"timesteps", "beta_start", "beta_end", "cutoff"})

    def problems(self, experiment: Experiment) -> list[str]:
        """What the schema cannot say; one sentence each, beginning with the key within the experiment."""
        data, model, training = experiment.data, experiment.model, experiment.training
        if found := too_large(parameter_count(model), "model.hidden_size, global_layers, local_layers"):
            return found
        found = list(sources.problems(data))
        if model.beta_start > model.beta_end:
            found.append(f"model.beta_start: {model.beta_start:g} is more than model.beta_end, {model.beta_end:g}.")
        for place, sampling in enumerate(experiment.sampling):
            steps = sampling.steps
            if sampling.schedule != "all" and steps > model.timesteps:
                found.append(
                    f"sampling[{place}].steps: {steps} is more than model.timesteps, {model.timesteps}; "
                    "take fewer, or the schedule all."
                )
        limits = self.known_rows(experiment)
        if limits is not None and limits[0] < limits[1]:
            found.append(
                f"training.batch_size: {training.batch_size} is more than the {limits[0]} conformations to train on; "
                "take a smaller batch or more of them."
            )
        return found

    def known_rows(self, experiment: Experiment) -> tuple[int, int] | None:
        """The most conformations to train on, where `data` says it, and those of a batch."""
        data = experiment.data
        limits = [] if data.rows is None else [data.rows]
        if data.molecules is not None and data.conformers is not None:
            distinct = data.source in ("rdkit", "rdkit_folder")  # else stereoisomers are held out together
            kept = data.molecules - held_out(data, data.molecules if distinct else 1)
            limits.append(kept * data.conformers)
        return (min(limits), experiment.training.batch_size) if limits else None

    def analyses(self, _: Mapping[str, Experiment], regimes: Mapping[str, Regime] = BUILT_IN) -> list[Analysis]:
        """The three test losses (the paper's Fig. 4 shows one), and a grid of conformers."""
        return [
            Analysis("plot_losses", figures=("losses",), asked=[asdict(loss) for loss in LOSSES]),
            Analysis("plot_conformers", figures=("conformers",), reads=("part", "train"), chosen=shown),
        ]


DOMAIN = Molecule()
