"""The cost of jobs of an image model. FLOPs are those of convolutions and linear layers."""

from itertools import pairwise
from pathlib import Path

from selfloop.config.section import given
from selfloop.data.validation import watches
from selfloop.domains.cost import Effort, Work, prepared_shards, unknown_size, watched_rows
from selfloop.domains.image.config import Data, Model, Sampling, Training
from selfloop.domains.image.data import sources
from selfloop.domains.image.domain import BANDS, parameter_count

# Train and test images of hub data sets, by the last part of their id. CelebA: its list_eval_partition.txt.
KNOWN = {"celeba": (162_770, 19_962)}
# In zstd shards; measured 0.84 for the packaged photographs at 32x32, 0.69 for colour faces at 64x64.
BYTES_PER_VALUE = 0.75


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> Effort[Training, Sampling]:
    """The cost of each job of an experiment.

    Args:
        data, model: the experiment's sections.
        real: the folder of the prepared data, which may not exist yet.
        rows: train rows of a data set of otherwise unknown size.

    Raises:
        UserError: the size of the data is unknown.
    """
    return effort_of(data, model, *rows_of(data, real, rows))


def effort_of(
    data: Data, model: Model, train_rows: float, test_rows: float, assumed: tuple[str, ...] = ()
) -> Effort[Training, Sampling]:
    """The same, of data whose size is known."""
    encoder, decoder = forward_flops(data, model)
    written = BYTES_PER_VALUE * BANDS[data.color] * data.size**2

    watched = watched_rows(data.validation_fraction, train_rows, test_rows)

    def train(training: Training, amount: float) -> Work:
        seen = training.seen(amount * train_rows, training.batch_size)
        evaluated = training.evaluations * (test_rows + watches(training) * watched)
        return Work(seen, (3 * seen + evaluated) * (encoder + decoder), 4 * parameter_count(data, model))

    return Effort(
        unit="images",
        row=1.0,
        data=Work(bytes=written * (train_rows * (1 + data.reserve) + test_rows)),
        train=train,
        generate=lambda sampling: Work(train_rows, train_rows * decoder, written * train_rows),
        evaluate_model=Work(test_rows, test_rows * (encoder + decoder)),
        evaluate_part=lambda sampling, first: Work(train_rows),
        score=lambda sampling: Work(train_rows, train_rows * (encoder + decoder)),
        assumed=(
            *assumed,
            f"A pixel value takes {BYTES_PER_VALUE} bytes in a shard.",
            "Comparing sampled with real images takes seconds and counts as no work.",
        ),
    )


def forward_flops(data: Data, model: Model) -> tuple[int, int]:
    """FLOPs of the forward pass over one image: of the encoder, and of the decoder.

    A strided 3x3 convolution multiplies at each position of its smaller side; the decoder ends in a block with as many
    output as input channels, and the convolution that outputs the bands.
    """
    bands, channels, latent = BANDS[data.color], list(model.channels), model.latent
    # Sides of each block's input, and of the last one's output.
    size = [data.size // 2**block for block in range(len(channels) + 1)]
    flat = channels[-1] * size[-1] ** 2
    blocks = [9 * a * b * side**2 for (a, b), side in zip(pairwise([bands, *channels]), size[1:], strict=True)]
    back = sum(blocks[1:]) + 9 * channels[0] ** 2 * size[1] ** 2 + 9 * channels[0] * bands * size[0] ** 2
    return 2 * (sum(blocks) + 2 * flat * latent), 2 * (flat * latent + back)


def rows_of(data: Data, real: Path, rows: int | None) -> tuple[float, float, tuple[str, ...]]:
    """Numbers of train and test images: counted if prepared, else listed, else published; and the assumptions.

    Raises:
        UserError: they are unknown.
    """
    if prepared := prepared_shards(real):
        import pyarrow.parquet as pq

        counts = [sum(pq.read_metadata(path).num_rows for path in paths) for paths in prepared]
        return counts[0], counts[1], ()
    if data.source != "hub":
        train, test, *_ = sources.splits(data, lambda line: None)
        return len(train), len(test), ()
    name = given(data.name)
    known = KNOWN.get(name.rsplit("/", 1)[-1].lower())
    if known is None and rows is None and data.rows is None:
        raise unknown_size(f"data.name: '{name}'", "prepare_data")
    whole = known[0] if known else float(given(rows or data.rows))
    tested = known[1] if known else whole * data.test_fraction / (1 - data.test_fraction)
    told = (f"{name} has {whole:,.0f} train and {tested:,.0f} test images, as published.",) if known else ()
    kept = (data.rows or whole / (1 + data.reserve)) * (1 - (data.validation_fraction or 0))
    return float(round(kept)), float(data.test_rows or tested), told
