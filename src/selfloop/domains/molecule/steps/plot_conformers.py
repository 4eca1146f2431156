"""A grid of conformers of one molecule: real, and sampled under replace and accumulate."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.analysis.show import Params
from selfloop.analysis.style import save
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.molecule.data.conformations import COLUMNS, Conformation, Conformations
from selfloop.domains.molecule.figures import Panel, conformers_figure
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Draw the molecule of the median size among those that every part has a sample of."""
    artifacts = job.params.artifacts
    parts = {row.part: _sizes(Path(row.part)) for row in artifacts}
    shared = set.intersection(*(set(sizes) for sizes in parts.values()))
    sizes = parts[artifacts[0].part]
    row = sorted(shared, key=lambda each: (sizes[each], each))[len(shared) // 2]
    panels = [Panel(each.regime, each.iteration, _row(Path(each.part), row)) for each in artifacts]
    real = _row(Path(artifacts[0].train), row)
    figure = conformers_figure(real, panels, title=job.params.titles["conformers"])
    save(figure, [Path(path) for path in job.output["figures"]])


def _sizes(folder: Path) -> dict[int, int]:
    """Atoms of every row, by its number."""
    found: dict[int, int] = {}
    for batch in iterate_rows(shard_paths(folder), ["row", "atomic_numbers"]):
        lengths = batch.column("atomic_numbers").value_lengths().to_pylist()
        found.update(zip(batch.column("row").to_pylist(), lengths, strict=True))
    return found


def _row(folder: Path, number: int) -> Conformation:
    """The conformation of a number."""
    for batch in iterate_rows(shard_paths(folder), [*COLUMNS, "row"]):
        places = np.flatnonzero(batch.column("row").to_numpy() == number)
        if len(places):
            return Conformations.of([batch.take(pa.array(places))], str(folder))[0]
    raise ValueError(f"{folder} has no row {number}")
