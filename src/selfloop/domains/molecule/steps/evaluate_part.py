"""Rule evaluate_part: quality of a part, and of samples for the real test molecules.

Coverage and matching need held-out molecules, so the model samples two conformations for each real one of the test
molecules, as is customary; for part 0 only, since it depends on the model alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.molecule.config import Sampling
from selfloop.domains.molecule.data.conformations import Conformation, Conformations, Floats, read_conformations
from selfloop.domains.molecule.metrics import coverage_and_matching, quality, rmsd_table
from selfloop.domains.molecule.model.checkpoint import load_checkpoint
from selfloop.domains.molecule.model.sampler import sample
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch

PER_REFERENCE = 2


class Params(StepParams):
    """What the step takes of its params."""

    sampling: Sampling
    streams: str
    part: int


def run(job: Job[Params]) -> None:
    """Evaluate the part, and, for part 0, coverage, matching and quality on the test molecules."""
    real = read_conformations(Path(job.input["real"]))
    folder, part = Path(job.input["part"]), job.params.part
    sampled = read_conformations(folder)
    numbers = np.concatenate([batch.column("row").to_numpy() for batch in iterate_rows(shard_paths(folder), ["row"])])
    values = {"synthetic": quality([(sampled[index], real[row], real.graph(row)) for index, row in enumerate(numbers)])}
    values["synthetic"]["nan_rate"] = 1 - len(sampled) / len(real)
    if part == 0:
        values["test"] = _on_test(job)
    write_measurements(job, values, part)


def _on_test(job: Job[Params]) -> dict[str, float]:
    device = prepare_torch(job.threads, job.gpus)
    note(job, device, torch.float32)
    test = read_conformations(Path(job.input["test"]))
    model, config = load_checkpoint(Path(job.input["checkpoint"]), str(device))
    # Not by graph, which stereoisomers share.
    smiles = np.array(test.smiles)
    molecules = [np.flatnonzero(smiles == name) for name in dict.fromkeys(test.smiles)]
    rows = [int(row) for members in molecules for row in np.tile(members, PER_REFERENCE)]
    with job.progress(desc="sample", total=len(rows), unit="conformation") as bar:
        samples, again = sample(
            model, config, job.params.sampling, test, rows, f"{job.params.streams}/test", bar.update, str(device)
        )
    finite = [bool(np.isfinite(points).all()) for points in samples]
    job.log.info(
        "%d conformations of %d test molecules; %d needed a second attempt, %d are not finite",
        len(samples), len(molecules), int(again.sum()), len(samples) - sum(finite),
    )  # fmt: skip
    values = {"nan_rate": 1 - sum(finite) / len(finite)}
    kept = [(row, points) for row, points, fine in zip(rows, samples, finite, strict=True) if fine]
    if kept:
        values |= quality([(_with(test, row, points), test[row], test.graph(row)) for row, points in kept])
        tables = []
        for members in molecules:
            sampled: Sequence[Floats] = [points for row, points in kept if row in members]
            if sampled:
                references = [test[int(row)].coordinates for row in members]
                tables.append(rmsd_table(test[int(members[0])], references, sampled))
        values |= coverage_and_matching(tables)
    return values


def _with(molecules: Conformations, row: int, points: Floats) -> Conformation:
    molecule = molecules[row]
    return Conformation(molecule.name, molecule.smiles, molecule.atomic_numbers, molecule.bonds, points)
