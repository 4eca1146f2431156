"""The model's share of the time that sampling a data set of images takes; the rest is writing Parquet.

    python benchmarks/image_sampling.py [--images 4096] [--threads 2] [--rounds 3]

The paper's model (64 x 64, RGB, untrained) samples a data set as the rule generate does, and computes the same images
without writing them. The model's share is the second time over the first. The time for the paper's 163,000 images is
extrapolated.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains.image.data.image_store import ROWS_PER_GROUP, SCHEMA, encode_png
from selfloop.domains.image.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.image.model.network import Shape, build
from selfloop.domains.image.model.sampler import encoded, sample
from selfloop.processor import processor
from selfloop.training.devices import compute_dtype, prepare_torch

PAPER = 163_000
SHAPE = Shape(64, "rgb", (32, 64, 128, 256, 512), 128)


def main() -> None:
    """Measure in turns, and print the times and the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    count = arguments.images
    device = prepare_torch(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(SHAPE, 0.00025, build(SHAPE, 0).state_dict(), folder)
        dtype = compute_dtype("auto", device)
        model, _ = load_checkpoint(folder, dtype, str(device))
        list(sample(model, 512, 1.0, "warm up", device))
        alone, whole = [], []
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            blocks = list(sample(model, count, 1.0, "benchmark", device))
            alone.append(time.perf_counter() - began)
            began = time.perf_counter()
            with (
                atomic_folder(folder / "part") as scratch,
                ShardWriter(scratch, SCHEMA, rows_per_group=ROWS_PER_GROUP) as writer,
            ):
                for row, data in enumerate(encoded(sample(model, count, 1.0, "benchmark", device))):
                    writer.append({"image": {"bytes": data}, "row": row, "iteration": 1, "part": 0})
            whole.append(time.perf_counter() - began)
        began = time.perf_counter()
        for block in blocks:
            encode_png(block)
        encoding = time.perf_counter() - began
        size = sum(path.stat().st_size for path in (folder / "part").glob("*.parquet"))
    model_time, wall = float(np.median(alone)), float(np.median(whole))
    print(
        f"{count:,} images of 64x64, {str(dtype).removeprefix('torch.')}, {device}, {torch.get_num_threads()} threads"
    )
    print(processor())
    print(f"the model alone        {count / model_time:8.0f} images/s")
    print(f"sampled and written    {count / wall:8.0f} images/s, {size / count:,.0f} bytes an image")
    print(f"encoding of PNG alone  {count / encoding:8.0f} images/s")
    print(f"the model's share of the wall-clock: {model_time / wall:.0%}")
    print(f"{PAPER:,} images would take {PAPER * wall / count / 60:.1f} minutes (extrapolated)")


if __name__ == "__main__":
    main()
