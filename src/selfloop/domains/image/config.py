"""The sections of an experiment of the image domain. Light: the Snakefile and the steps import it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import DataSeed, Paths, Reserve, Section, Start
from selfloop.config.training_length import TrainingLength

VALIDATION_KEYS = ("validation", "validation_split")  # of `data`; besides them, there is a fraction
MODEL_TYPE = "convolutional-vae"  # in config.json of checkpoints


class Data(Section):
    """Where the real images come from, and how they are cropped and resized."""

    needs: ClassVar = {"packaged": ("name",), "files": ("train",), "celeba": ("path",), "hub": ("name",)}
    unsaid: ClassVar = frozenset(
        {"name", "path", "train", "reserve", *VALIDATION_KEYS, "validation_fraction", "validation_rows"}
    )

    source: Literal["packaged", "files", "celeba", "hub"]
    """`packaged`: photographs that are installed with the dependencies; `files`: your own; `celeba`: CelebA as its
    authors hand it out; `hub`: a data set of the Hugging Face hub.
    """
    name: Annotated[str, Field(min_length=1)] | None = None
    """The packaged images (`orl`: 400 photographs of 40 persons, split by person), or the hub data set's id
    (`eurecom-ds/celeba`); also a local folder that `datasets` opens, with a `/` in its path (`./faces`).
    """
    path: Annotated[str, Field(min_length=1)] | None = None
    """The folder that holds `list_eval_partition.txt` (or `.csv`) and `img_align_celeba` (a folder or a zip). With
    `identity_CelebA.txt`, persons are known.
    """
    train: Paths | None = None
    """A folder or a zip of images, sub-folders and links to folders included, or a list of them."""
    test: Paths | None = None
    """The same for the images to test on; null holds out `test_fraction` of the others."""
    person: Annotated[str, Field(min_length=1)] | None = None
    """How an image tells whom it shows: `folder`, by its sub-folder, below the folders that all images share (one of a
    name is one person in all of `train` and `test`); a regular expression with one group, found in its name with its
    sub-folders (`"^([a-z]+)_"`); of hub data, a column; null if it does not.
    """
    image_column: Annotated[str, Field(min_length=1)] = "image"
    """The hub data set's column that holds the images."""
    configuration: str | None = None
    """The hub data set's configuration."""
    revision: str | None = None
    """The hub data set's revision; name one for results that must stay the same."""
    train_split: str = "train"
    """The split of hub data or CelebA to train on. CelebA has `train`, `validation` and `test`."""
    test_split: str | None = "test"
    """The split of hub data or CelebA to test on; null (hub data only) holds out `test_fraction` of the other."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the persons, or of the images where persons are not known, held out with `seed` where there is no test
    split.
    """
    validation: Paths | None = None
    """The same for the images that `schedule: plateau` watches, neither trained nor tested on."""
    validation_split: str | None = None
    """The split of hub data or CelebA that `schedule: plateau` watches (CelebA: `validation`)."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the persons in the training images, or of these images where persons are not known, that is held out
    with `seed` for `schedule: plateau` to watch; no regime trains on them. Null for none, or with `schedule: plateau`
    and no other validation images, 0.05.
    """
    validation_rows: Annotated[int, Field(ge=1)] | None = None
    """Number of validation images, sampled with `seed`; null for all."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Number of training images, sampled with `seed`, before `validation_fraction` of them is held out; null for all.
    """
    test_rows: Annotated[int, Field(ge=1)] | None = None
    """Number of test images, sampled with `seed`; null for all."""
    reserve: Reserve = 0.0
    """Further real rows for regimes that take `fresh` ones, in multiples of the train rows; they are in no other split.
    """
    seed: DataSeed = 0
    """Seed of the subsample and of the held-out images. `per-chain`: the chain's own,
    so that intervals over seeds also say what another draw of the real data would change.
    """
    crop: Annotated[int, Field(ge=1)] | None = None
    """Side in pixels of the square that is cut from the centre; null for the largest one."""
    size: Annotated[int, Field(ge=2)] = 64
    """Side in pixels of the images that models see; the cut square is resized to it. It must be divisible by 2 for each
    of `channels`.
    """
    color: Literal["gray", "rgb"] = "rgb"
    """What every image is converted to: `gray` or `rgb`."""
    broken: Literal["stop", "drop"] = "stop"
    """What becomes of an image that cannot be used: `stop` or `drop`."""


class Model(Section):
    """The autoencoder's size."""

    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=16)] = [32, 64, 128, 256, 512]
    """Channels of the encoder's blocks, each of which halves the image's sides."""
    latent: Annotated[int, Field(ge=1)] = 128
    """Dimensions of the latent."""


class Training(TrainingLength):
    """How each model is trained."""

    unsaid: ClassVar = TrainingLength.unsaid | {"start"}

    epochs: Annotated[float, Field(ge=0.0001)] | None = 100.0
    start: Start = "scratch"
    """The weights that each training from iteration 2 on starts from: `scratch`, new random ones; `previous`, those of
    model n-1; `first`, those of model 1. The optimizer's moments always start at 0.
    """
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images per optimizer step, over all processes; no more than there are images."""
    kl_weight: Annotated[float, Field(gt=0)] = 0.00025
    """Weight of the divergence in nats beside the mean squared error. A smaller one gives sharper reconstructions, and
    samples that look less like the training set.
    """
    flip: bool = True
    """Whether each image is mirrored with probability 1/2 every time it is seen."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    """Peak learning rate of Adam."""
    schedule: Literal["exponential", "cosine", "constant", "plateau"] = "exponential"
    """The learning rate over the run: `exponential` (times `decay` after every epoch), `cosine`, `constant`, or
    `plateau` (times `decay` where the loss on the validation images has stopped falling; the test images only measure).
    With `steps`, epochs of larger training sets are fewer, so that exponential lowers the rate less for them; cosine
    and constant are the same for all.
    """
    decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The factor of the schedules exponential and plateau."""
    patience: Annotated[int, Field(ge=0)] = 10
    """Points of the learning curve without improvement that the schedule plateau waits for."""
    final_learning_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Where the cosine ends, as a share of the peak."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up; at most a tenth of the run is used."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay, on matrices and kernels only; at 0 it is Adam."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay rate."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay rate."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """The gradient's norm is clipped to this."""
    evaluations: Annotated[int, Field(ge=1)] = 20
    """Points of the learning curve, evenly over the run; the last one is at its end. They change the model only where
    the schedule `plateau` waits for them.
    """
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Compute dtype: `bfloat16`, `float32`, or auto, as in text: bfloat16 where the hardware has it. Small models on
    CPUs are as fast in float32.
    """


class Sampling(Section):
    """How images are sampled; each entry gives chains of its own, which share their first models with the others."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Standard deviation of the latents; 1 is the prior, less gives images closer to the average one."""
