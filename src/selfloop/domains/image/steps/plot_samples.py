"""Samples of every model of each experiment's first seed, iteration by iteration (the paper's Fig. 6)."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from selfloop.analysis.read import regimes_in_order
from selfloop.analysis.show import Params
from selfloop.analysis.style import regime_title, save
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.image.figures import grid_figure
from selfloop.jobs.job import Job

COLUMNS = 8
Panels = dict[str, dict[str, np.ndarray]]


def run(job: Job[Params]) -> None:
    """Draw one panel per regime, with a row per iteration; beside them, more of model 1's samples and real images."""
    chains: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    real = {}
    samplings = {row.sampling for row in job.params.artifacts}
    for row in job.params.artifacts:
        block = row.experiment + (f", {row.sampling}" if len(samplings) > 1 else "")
        chains[block][row.regime][row.iteration] = row.part
        real[block] = row.train
    blocks = {block: _panels(regimes, real[block], job.threads) for block, regimes in chains.items()}
    figure = grid_figure(blocks, title=job.params.titles["samples"])
    save(figure, [Path(path) for path in job.output["figures"]])


def _panels(regimes: dict[str, dict[int, str]], real: str, threads: int) -> Panels:
    panels = {
        regime_title(regime): {
            str(iteration): _first(part, COLUMNS, threads) for iteration, part in sorted(regimes[regime].items())
        }
        for regime in regimes_in_order(regimes)
    }
    rows = max(map(len, regimes.values()))
    baseline = next(iter(regimes.values()))[1]
    for name, folder in (("Baseline: Model 1", baseline), ("Real Images", real)):
        images = _first(folder, COLUMNS * rows, threads, spread=folder == real)
        pieces = [images[begin : begin + COLUMNS] for begin in range(0, len(images), COLUMNS)]
        panels[name] = {" " * index: piece for index, piece in enumerate(pieces)}
    return panels


def _first(folder: str, count: int, threads: int, spread: bool = False) -> np.ndarray:
    """The first images of a data set, or (`spread`) as many from its first row group, evenly apart, since neighbours
    may show the same person."""
    size = image_store.ROWS_PER_GROUP if spread else count
    batch = next(iterate_rows(shard_paths(Path(folder)), ["image"], size))
    if spread:
        batch = batch.take(np.linspace(0, batch.num_rows - 1, min(count, batch.num_rows)).astype(np.int64))
    return image_store.in_memory([batch], folder, threads)
