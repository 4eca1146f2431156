"""Rows per CPU second of each scorer of filters, on made-up parts: python benchmarks/scoring.py [--rows N]

The best of three runs of the step score, reading and writing included. Cross-entropy is that of a small language model.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from selfloop.config.filters import Filter
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains.discrete.rows import write_words
from selfloop.domains.discrete.steps import score as discrete
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import write_rows
from selfloop.domains.linear.steps import score as linear
from selfloop.domains.text.config import Model
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import build
from selfloop.domains.text.steps import score as text
from selfloop.jobs.job import Job

MODEL = Model(architecture="gpt2", hidden_size=128, layers=4, heads=4, context=128, vocabulary=512)


def parts(folder: Path, rows: int) -> Iterator[tuple[str, Any, Filter, dict[str, str], dict[str, object]]]:
    """Of each scorer: domain, step, filter, inputs and further params."""
    generator = np.random.default_rng(0)
    w = np.ones(10)
    write_rows(folder / "linear", generator.normal(size=(rows, 10)), w, generator.normal(size=rows))
    inputs = {"part": str(folder / "linear")}
    yield "linear", linear, Filter(by="residual"), inputs, {"data": Data(dimension=10, rows=rows), "seed": 0}
    write_words(folder / "discrete", pa.array(generator.integers(0, 1000, size=rows).astype(str)))
    inputs = {"part": str(folder / "discrete")}
    yield "discrete", discrete, Filter(by="reward", rewards={"1": 1.0}), inputs, {}
    with atomic_folder(folder / "text") as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row in range(rows):
            ids = [0, *generator.integers(1, 257, size=generator.integers(20, 120)).tolist(), 0]
            writer.append({"text": "", "input_ids": ids, "iteration": 1, "part": 0, "row": row})
    with atomic_file(folder / "tokenizer.json") as scratch:
        train_tokenizer(["a b c"], MODEL.vocabulary).save(str(scratch))
    model = build(MODEL, 0)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with atomic_folder(folder / "checkpoint") as scratch:
        save_checkpoint(model, weights, folder / "tokenizer.json", scratch)
    inputs = {"part": str(folder / "text")}
    for by in ("length", "duplicates"):
        yield "text", text, Filter(by=by), inputs, {}
    yield "text", text, Filter(by="cross-entropy"), {**inputs, "checkpoint": str(folder / "checkpoint")}, {}


def main() -> None:
    """Print a line per scorer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        for domain, step, scorer, inputs, more in parts(Path(name), rows):
            best = float("inf")
            for _ in range(3):
                job = Job(inputs, {"scores": f"{name}/scores.parquet"}, step.Params(scorer=scorer, **more))
                began = time.process_time()
                step.run(job)
                best = min(best, time.process_time() - began)
            print(
                f"{domain:<10} {scorer.by:<15} {rows / best:>12,.0f} rows per CPU second "
                f"({torch.get_num_threads()} threads)"
            )


if __name__ == "__main__":
    main()
