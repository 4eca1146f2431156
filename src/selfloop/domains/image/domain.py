"""What the study asks of the image domain while it is planned: names, sizes, and what is wrong with the settings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfloop.config import models
from selfloop.config.filters import Filter
from selfloop.config.section import first_of
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN, Regime
from selfloop.data.validation import held_out, with_validation
from selfloop.domains.image.config import MODEL_TYPE, VALIDATION_KEYS, Data, Model, Sampling, Training
from selfloop.domains.image.data import sources
from selfloop.domains.protocol import Analysis, Artifacts, Domain, first_seeds, too_large
from selfloop.identity import slug


class Experiment(models.Experiment):
    """An experiment of this domain."""

    domain: Literal["image"]
    data: Data
    model: Model = Model()
    training: Training = Training()
    sampling: Annotated[list[Sampling], Field(min_length=1)] = [Sampling()]

    @model_validator(mode="after")
    def _watches_a_split(self) -> Self:
        return with_validation(self, VALIDATION_KEYS)


def _config(path: Path) -> Mapping[str, object]:
    """The config.json of a checkpoint; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


BANDS = {"gray": 1, "rgb": 3}


def parameter_count(data: Data, model: Model) -> int:
    """Trainable parameters; exact: a test compares it with the module's own count."""
    bands, channels, latent = BANDS[data.color], list(model.channels), model.latent
    flat = channels[-1] * (data.size // 2 ** len(channels)) ** 2
    pairs = list(zip([bands, *channels[:-1]], channels, strict=True))
    pairs += [*zip(channels[:0:-1], channels[-2::-1], strict=True), (channels[0], channels[0])]
    blocks = sum(9 * inputs * outputs + 3 * outputs for inputs, outputs in pairs)  # with bias, and BatchNorm's two
    return int(blocks + 3 * latent * flat + 2 * latent + flat + 9 * channels[0] * bands + bands)


def ends(artifacts: Sequence[Artifacts]) -> list[Artifacts]:
    """Of these chains, iteration 1 and the last one."""
    lasts: dict[tuple[str, str, str], int] = {}
    for row in first_seeds(artifacts):
        chain = row["experiment"], row["regime"], row["sampling"]
        lasts[chain] = max(lasts.get(chain, 1), row["iteration"])
    return [
        row
        for row in first_seeds(artifacts)
        if row["iteration"] in (1, lasts[row["experiment"], row["regime"], row["sampling"]])
    ]


VARIANCE = Measure("log_variance", "Variance by component to real", "log ratio", logarithmic=True)
RECALL = Measure("recall", "Recall", floor=0.0, ceiling=1.0)
PRECISION = Measure("precision", "Precision", floor=0.0, ceiling=1.0)
HIGH = Measure("high_frequency_share", "Power in high frequencies", floor=0.0, ceiling=1.0)
KAPPA = Measure("kappa", "κ of the mean image's shift", even=1.0)
PROFILED = (
    VARIANCE,
    Measure("covariance_trace_ratio", "Total variance to real", floor=0.0),
    Measure("covariance_log_determinant_ratio", "Covariance determinant to real", "log ratio", logarithmic=True),
    Measure("effective_modes", "Effective number of modes"),
    Measure("vendi_score", "Vendi score"),
    PRECISION,
    RECALL,
    Measure("frechet_distance", "Fréchet distance"),
    Measure("nearest_train_distance", "Distance to the nearest train image"),
    Measure("laplacian_energy", "Laplacian energy"),
    HIGH,
    Measure("outside_energy", "Energy outside the real components"),
    KAPPA,
)


class Image(Domain[Experiment, Data, Model, Sampling]):
    """What the study asks of image data."""

    name = "image"
    title = "Images"
    described = ("source", "name", "rows", "size")
    experiment = Experiment
    scorers = ("reconstruction", "nearest", "oracle", "detector", "command")
    weights = True
    headline = Quantity("total_loss", "test", "Test loss")
    curve = Quantity("total_loss", "test", "Test loss")
    synthetic = (
        Quantity("covariance_trace_ratio", "synthetic", "Variance, in the real images'", role="diversity"),
        Quantity("covariance_log_determinant_ratio", "synthetic", "Covariance determinant to real", "log ratio"),
    )
    profile = Profile(spread=VARIANCE, recall=RECALL, flat=(HIGH,), like=PRECISION, carried=KAPPA)
    others = (Quantity("reconstruction_mse", "test", "Reconstruction error", role="reconstruction"),)

    def architecture(self, data: Data, model: Model) -> list[object]:
        return [model.plain, data.size, data.color]

    def input_files(self, data: Data) -> list[str]:
        return sources.input_files(data)

    def shared_steps(self, experiment: Experiment) -> tuple[str, ...]:
        """See `Domain`."""
        return ("train", "generate")

    def scorer_problems(self, experiment: Experiment, scorer: Filter) -> Iterator[str]:
        """A checkpoint of other images."""
        if scorer.scored_under == "checkpoint":
            data, config = experiment.data, _config(Path(scorer.of, "config.json"))
            if config.get("model_type") != MODEL_TYPE:
                yield f"of: '{scorer.of}' is not a checkpoint of this domain, whose config.json has {MODEL_TYPE}."
            elif (config.get("image_size"), config.get("color")) != (data.size, data.color):
                yield (
                    f"of: '{scorer.of}' is of {config.get('color')} images of {config.get('image_size')} pixels, not "
                    f"of {data.color} ones of {data.size}, as data.color and data.size say."
                )

    def data_slug(self, data: Data) -> str:
        """For example orl-32."""
        named = first_of(data.train) if data.source == "files" else data.name or data.source
        word = PurePosixPath(named).stem
        return f"{slug(word, 'images')}-{data.size}"

    def model_slug(self, model: Model) -> str:
        """For example vae-32-512-z128."""
        return f"vae-{model.channels[0]}-{model.channels[-1]}-z{model.latent}"

    def model_title(self, model: Model) -> str:
        """For example VAE (32 to 512 channels)."""
        return f"VAE ({model.channels[0]} to {model.channels[-1]} channels)"

    def sampling_slug(self, sampling: Sampling) -> str:
        """For example t1."""
        return f"t{sampling.temperature:g}"

    def sampling_title(self, sampling: Sampling) -> str:
        """For example temperature=1.0."""
        return f"temperature={float(sampling.temperature)}"

    def problems(self, experiment: Experiment) -> list[str]:
        """What the schema cannot say; one sentence each, beginning with the key within the experiment."""
        data, model = experiment.data, experiment.model
        if found := too_large(parameter_count(data, model), "data.size, model.channels, latent"):
            return found
        found = list(sources.problems(data))
        halvings = len(model.channels)
        if data.size % 2**halvings:
            allowed = ", ".join(str(2**halvings * factor) for factor in (1, 2, 3, 4))
            found.append(
                f"data.size: {data.size} cannot be halved {halvings} times, as the {halvings} blocks of model.channels "
                f"do. Allowed: {allowed} and so on, or fewer channels."
            )
        limits = self.known_rows(experiment)
        if limits is not None and limits[0] < limits[1]:
            found.append(f"training.batch_size: {limits[1]} is more than the {limits[0]} images to train on.")
        return found

    def known_rows(self, experiment: Experiment) -> tuple[int, int] | None:
        """The most images to train on, where `rows` says it, and those of a batch."""
        data = experiment.data
        if data.rows is None:
            return None
        single = data.source in ("files", "hub") and data.person is None  # else persons are held out as a whole
        rows = data.rows - held_out(data, data.rows if single else 1)
        return rows, experiment.training.batch_size

    def analyses(self, _: Mapping[str, Experiment], regimes: Mapping[str, Regime] = BUILT_IN) -> list[Analysis]:
        """Figures of the profile; grids of samples (the paper's Fig. 6) and of reconstructions (Fig. 15)."""
        return [
            Analysis(
                "plot_profile",
                figures=("profile", "spectra", "map"),
                asked=[asdict(measure) for measure in PROFILED],
                reads=("profile",),
            ),
            Analysis("plot_samples", figures=("samples",), reads=("part", "train"), chosen=first_seeds),
            Analysis("plot_reconstructions", figures=("reconstructions",), reads=("checkpoint", "test"), chosen=ends),
        ]


DOMAIN = Image()
