"""Throughput of training and sampling on this machine: runs the steps on random documents."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from selfloop.data import training_set
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains.text.config import Data, Model, Sampling, Training
from selfloop.domains.text.cost import forward_flops
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import OWN_MARKS, Marks, marks_around, train_tokenizer
from selfloop.domains.text.steps import generate, train
from selfloop.domains.text.steps import train_tokenizer as tokenizer_step
from selfloop.jobs.job import Job
from selfloop.training.distributed import SINGLE_PROCESS
from selfloop.training.speed import ThroughputMeter, TimeUp, usable_threads

STEPS = 4  # the first (warm-up) and the last (with evaluation) are not timed
CPU_STEP = 5e10  # maximum FLOPs of a step on a CPU: smaller batches for large models
SECONDS = 3.0  # of sampling
DOCUMENTS = {"cpu": 64, "cuda": 4096}  # to sample, at least


def measure_speed(
    data: Data, model: Model, training: Training, sampling: Sampling, units: float, threads: int | None = None
) -> tuple[float, float]:
    """FLOP/s of training and sampling, counted as in `effort`.

    Args:
        data, model, training, sampling: the experiment's sections.
        units: tokens per document, and the maximum length of sampled ones: an untrained model hardly ever ends one.
        threads: CPU threads; None for all.

    Training is measured without packing, and sampling with the engine torch, whatever the config says.
    """
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    length = max(4, min(round(units), model.context))
    flops = forward_flops(model, length - 1)
    batch = training.batch_size
    if kind == "cpu":
        batch = max(1, min(batch, int(CPU_STEP / (3 * flops))))
    if model.checkpoint is None:  # an adapter is measured as a training of all weights
        training = training.without("adapter").without("start")
    training = training.changed(epochs=1.0, steps=None, batch_size=batch, evaluations=1, packing=False, compile=False)
    threads = usable_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        marks = _write_tokenizer(folder / "tokenizer.json", model)
        real, test = folder / "real", folder / "test"
        rows = max(STEPS * batch, DOCUMENTS[kind])
        _write(real, rows, length, marks)
        _write(test, batch, length, marks)
        take = training_set.Take(iteration=0, part=0, amount=STEPS * batch / rows, skip=0.0, weight=1.0, filter=None)
        training_set.run(
            Job(
                input={"parts": [str(real)], "real": str(real)},
                output={"training_set": str(folder / "training-set")},
                params=training_set.Params(streams="speed", takes=[take], budget=None),
            )
        )
        checkpoint = str(folder / "checkpoint")
        meter = ThroughputMeter(threads=threads)
        train.run(
            Job(
                input={
                    "training_set": str(folder / "training-set"),
                    "test": str(test),
                    "tokenizer": str(folder / "tokenizer.json"),
                },
                output={"checkpoint": checkpoint, "learning_curve": str(folder / "curve.parquet")},
                params=train.Params(streams="speed", model=model, training=training, state=str(folder / "state")),
                threads=threads,
                every_seconds=3600.0,
                progress=meter,
            )
        )
        trained = meter.units_per_second(skip_last=1) * 3 * batch * flops
        meter = ThroughputMeter(SECONDS, threads)
        params = generate.Params(
            sampling=sampling.changed(max_length=length, engine="torch"),
            precision=training.precision,
            streams="speed",
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
        return trained, meter.units_per_second() * flops / (length - 1)


def _write_tokenizer(file: Path, model: Model) -> Marks:
    """The tokenizer of the model's checkpoint, or one of as many tokens as the model; the marks of its documents."""
    if model.checkpoint is not None:
        asked: dict[str, int | str | None] = {"checkpoint": str(model.checkpoint), "revision": model.revision}
        tokenizer_step.run(Job({}, {"tokenizer": str(file)}, tokenizer_step.Params(tokenizer=asked)))
        return marks_around(Tokenizer.from_file(str(file)))
    tokenizer = train_tokenizer(["a b c"], model.vocabulary)
    tokenizer.add_tokens([f"<{id_}>" for id_ in range(tokenizer.get_vocab_size(), model.vocabulary)])
    with atomic_file(file) as scratch:
        tokenizer.save(str(scratch))
    return OWN_MARKS._replace(size=model.vocabulary)


def _write(folder: Path, rows: int, length: int, marks: Marks) -> None:
    """Documents of random tokens between begin- and end-of-text."""
    generator = np.random.default_rng(0)
    with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row in range(rows):
            middle = generator.integers(1, marks.size, length - 2).tolist()
            ids = [marks.begin, *middle, marks.end]
            writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
