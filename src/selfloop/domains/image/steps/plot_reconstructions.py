"""The same test images as every regime's last model reconstructs them (the paper's Fig. 15)."""

from pathlib import Path

import numpy as np
import torch

from selfloop.analysis.read import regimes_in_order
from selfloop.analysis.show import Artifact, Params
from selfloop.analysis.style import regime_title, save
from selfloop.data.shards import count_rows, iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.image.figures import grid_figure
from selfloop.domains.image.model.checkpoint import load_checkpoint
from selfloop.domains.image.model.network import to_bytes, to_pixels
from selfloop.jobs.job import Job
from selfloop.training.devices import prepare_torch

COLUMNS = 12


def run(job: Job[Params]) -> None:
    """Draw a block per experiment (and sampling): the test images, model 1's reconstructions, each regime's last."""
    prepare_torch(job.threads)
    blocks: dict[str, dict[str, list[Artifact]]] = {}
    samplings = {row.sampling for row in job.params.artifacts}
    for row in job.params.artifacts:
        block = row.experiment + (f", {row.sampling}" if len(samplings) > 1 else "")
        blocks.setdefault(block, {}).setdefault(row.regime, []).append(row)
    panels = {block: {"": _rows(regimes, job.threads)} for block, regimes in blocks.items()}
    figure = grid_figure(panels, title=job.params.titles["reconstructions"])
    save(figure, [Path(path) for path in job.output["figures"]])


def _rows(regimes: dict[str, list[Artifact]], threads: int) -> dict[str, np.ndarray]:
    first = next(iter(regimes.values()))[0]
    images = _test_images(Path(first.test), threads)
    rows = {"Test images": images, "Baseline: Model 1": _reconstructed(images, Path(first.checkpoint))}
    for regime in regimes_in_order(regimes):
        last = max(regimes[regime], key=lambda row: row.iteration)
        if last.iteration != 1:
            name = f"{regime_title(regime)}, Iteration {last.iteration}"
            rows[name] = _reconstructed(images, Path(last.checkpoint))
    return rows


def _test_images(folder: Path, threads: int) -> np.ndarray:
    """Images evenly apart, since neighbours may show the same person."""
    count = count_rows(folder)
    wanted = np.linspace(0, count - 1, min(COLUMNS, count)).astype(np.int64)
    seen, batches = 0, []
    for batch in iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP):
        batches.append(batch.take(wanted[(wanted >= seen) & (wanted < seen + batch.num_rows)] - seen))
        seen += batch.num_rows
    return image_store.in_memory(batches, str(folder), threads)


@torch.inference_mode()
def _reconstructed(images: np.ndarray, checkpoint: Path) -> np.ndarray:
    """What the decoder paints of the mean of each image's posterior, in float32."""
    model, _ = load_checkpoint(checkpoint)
    mean, _ = model.encode(to_pixels(torch.from_numpy(images)))
    return to_bytes(model.decode(mean)).numpy()
