"""Peak memory of a training on 500 million tokens, against one on 5 million.

    python benchmarks/memory.py [--tokens 500e6] [--steps 10]

Both run the rule train's step in its own process, with the paper's GPT-2 (9M) and batches of 32 documents; model and
batch need the same memory, so the difference is the cost of the data set's size. The large data set is one shard of 5
million random tokens, linked many times.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from selfloop.data import training_set
from selfloop.data.shards import ShardWriter
from selfloop.domains.text.config import Model, Training
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.domains.text.steps import train
from selfloop.jobs.job import Job

SHARD = 5_000_000
LENGTH = 212  # tokens of a document, as many as a story has
MODEL = Model(architecture="gpt2", hidden_size=256, layers=8, heads=16, context=2048)
TRAINING = Training(compile=False, warmup_steps=0, evaluations=1)


def write(folder: Path, rows: int) -> None:
    """A data set of random documents."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    with ShardWriter(folder, SCHEMA) as writer:
        for row in range(rows):
            ids = [0, *generator.integers(1, 8000, LENGTH - 2).tolist(), 0]
            writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})


def run_training(folder: Path, steps: int) -> None:
    """In a process of its own: trains, and prints its peak memory in MB."""
    shards = len(list((folder / "real").glob("*.parquet")))
    epochs = steps * 32 / (shards * (SHARD // LENGTH))
    take = training_set.Take(iteration=0, part=0, amount=1.0, skip=0.0, weight=1.0, filter=None)
    training_set.run(
        Job(
            input={"parts": [str(folder / "real")], "real": str(folder / "real")},
            output={"training_set": str(folder / "training-set")},
            params=training_set.Params(streams="memory", takes=[take], budget=None),
        )
    )
    train.run(
        Job(
            input={
                "training_set": str(folder / "training-set"),
                "test": str(folder / "test"),
                "tokenizer": str(folder / "tokenizer.json"),
            },
            output={"checkpoint": str(folder / "checkpoint"), "learning_curve": str(folder / "curve.parquet")},
            params=train.Params(
                streams="memory", model=MODEL, training=TRAINING.changed(epochs=epochs), state=str(folder / "state")
            ),
            threads=os.cpu_count() or 1,
            every_seconds=3600.0,
            progress=lambda **_: Bar(),
        )
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


class Bar:
    """Stands for a progress bar."""

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=float, default=500e6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_training(arguments.run, arguments.steps)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "real", SHARD // LENGTH)
        write(folder / "test", 32)
        train_tokenizer(["a b c"], 8000).save(str(folder / "tokenizer.json"))
        (shard,) = (folder / "real").glob("*.parquet")
        peaks = []
        for links in (1, round(arguments.tokens / SHARD)):
            for number in range(1, links):
                os.link(shard, shard.with_name(f"shard-{number:05d}.parquet"))
            began = time.perf_counter()
            command = [sys.executable, __file__, "--run", str(folder), "--steps", str(arguments.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            peaks.append(float(done.stdout.splitlines()[-1]))
            seconds = time.perf_counter() - began
            print(f"{links * SHARD:>13,} tokens: peak {peaks[-1]:,.0f} MB, {seconds:.0f} s", flush=True)
        print(f"\n{peaks[1] - peaks[0]:,.0f} MB for the larger data set")


if __name__ == "__main__":
    main()
