"""How fast this machine trains a language model and samples from it: the steps themselves, on made-up documents."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from selfloop.data import training_set
from selfloop.data.shards import ShardWriter
from selfloop.domains.text.config import Model, Sampling, Training
from selfloop.domains.text.cost import forward_flops
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.steps import generate, train
from selfloop.jobs.job import Job
from selfloop.training.distributed import SINGLE_PROCESS
from selfloop.training.speed import ThroughputMeter, TimeUp, usable_threads

STEPS = 4  # of which the first and the last, with its evaluation, are not timed
CPU_STEP = 5e10  # operations of a step on a CPU, at most: smaller batches where a model is large
SECONDS = 3.0  # of sampling
DOCUMENTS = {"cpu": 64, "cuda": 4096}  # sampled, at least


def measure_speed(
    model: Model, training: Training, sampling: Sampling, units: float, threads: int | None = None
) -> tuple[float, float]:
    """Operations per second of training and of sampling, as `effort` counts them.

    Args:
        model, training, sampling: the experiment's sections.
        units: tokens of a document; all are as long. The model is fresh and hardly ever ends one, so the maximum length
            of the sampled ones is just that.
        threads: CPU threads; None for all.

    Training is measured with a document per row, and sampling with the engine torch, whatever the settings say.
    """
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    length = max(4, min(round(units), model.context))
    each = forward_flops(model, length - 1)
    batch = training.batch_size
    if kind == "cpu":
        batch = max(1, min(batch, int(CPU_STEP / (3 * each))))
    training = training.changed(epochs=1.0, batch_size=batch, evaluations=1, packing=False, compile=False)
    threads = usable_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_tokenizer(["a b c"], model.vocabulary).save(str(folder / "tokenizer.json"))
        real, test = folder / "real", folder / "test"
        rows = max(STEPS * batch, DOCUMENTS[kind])
        _write(real, rows, length, model.vocabulary)
        _write(test, batch, length, model.vocabulary)
        take = training_set.Take(amount=STEPS * batch / rows, skip=0.0, weight=1.0, filter=None)
        training_set.run(
            Job(
                input={"parts": [str(real)], "real": str(real)},
                output={"training_set": str(folder / "training-set")},
                params=training_set.Params(identity="speed", takes=[take], budget=None),
            )
        )
        checkpoint = str(folder / "checkpoint")
        meter = ThroughputMeter()
        train.run(
            Job(
                input={
                    "training_set": str(folder / "training-set"),
                    "test": str(test),
                    "tokenizer": str(folder / "tokenizer.json"),
                },
                output={"checkpoint": checkpoint, "learning_curve": str(folder / "curve.parquet")},
                params=train.Params(identity="speed", model=model, training=training, state=str(folder / "state")),
                threads=threads,
                every_seconds=3600.0,
                progress=meter,
            )
        )
        trained = meter.units_per_second(skip_last=1) * 3 * batch * each
        meter = ThroughputMeter(SECONDS)
        params = generate.Params(
            sampling=sampling.changed(max_length=length, engine="torch"),
            precision=training.precision,
            identity="speed",
            iteration=1,
            part=0,
        )
        (folder / "part").mkdir()
        with suppress(TimeUp):
            generate.sample_share(  # not `run`: hardly a document ends
                Job(
                    input={"checkpoint": checkpoint, "real": str(real)},
                    output={"part": str(folder / "part")},
                    params=params,
                    threads=threads,
                    progress=meter,
                ),
                SINGLE_PROCESS,
                folder / "part",
            )
        return trained, meter.units_per_second() * each / (length - 1)


def _write(folder: Path, rows: int, length: int, vocabulary: int) -> None:
    """Documents of random tokens, begin- and end-of-text around them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    with ShardWriter(folder, SCHEMA) as writer:
        for row in range(rows):
            middle = generator.integers(1, vocabulary, length - 2).tolist()
            ids = [END_OF_TEXT_ID, *middle, END_OF_TEXT_ID]
            writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
