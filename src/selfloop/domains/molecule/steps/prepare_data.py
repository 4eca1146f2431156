"""Rule prepare_data: real conformations as Parquet, split by molecule."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from selfloop.data.contents import unchanged
from selfloop.data.paths import matching_files
from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import readers, sources
from selfloop.domains.molecule.data.chemistry import LeftOut, graph_of
from selfloop.domains.molecule.data.conformations import Conformation, write_conformations
from selfloop.domains.molecule.data.readers import Molecule
from selfloop.errors import UserError
from selfloop.identity import digest, stream
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data
    contents: str | None = None


def run(job: Job[Params]) -> None:
    """Read the source that `job.params.data` names, and write both splits."""
    with unchanged(job.params.contents, lambda: sources.input_files(job.params.data)):
        _prepare(job)


def _prepare(job: Job[Params]) -> None:
    data = job.params.data
    left_out = LeftOut()
    train, test = splits(data, left_out)
    for note in left_out.notes.described():
        job.log.info("%s", note)
    reasons = ", ".join(left_out.described())
    if reasons:
        job.log.info("left out: %s", reasons)
    _check_numbers(train, test, data, f" Left out were {reasons}." if reasons else "")
    rows = list(_thinned(conformations(train), data))
    job.log.info("%d conformations of %d molecules to train on", len(rows), len(train))
    write_conformations(rows, Path(job.output["train"]))
    count = write_conformations(conformations(test), Path(job.output["test"]))
    job.log.info("%d conformations of %d molecules to test on", count, len(test))


def _check_numbers(train: list[Molecule], test: list[Molecule], data: Data, reasons: str) -> None:
    """Refuse an empty split, or fewer train molecules than requested; `test_molecules` of files is only a limit."""
    wanted, wanted_test = data.molecules, data.test_molecules
    # These sources fill the test split first.
    if data.source in ("rdkit", "rdkit_folder") and len(test) > 1 and not train:
        raise UserError(
            f"data.test_molecules: {wanted_test} leaves none to train on (allowed are 1 to {len(test) - 1}).{reasons}"
        )
    if train and wanted is not None and wanted > len(train):
        raise UserError(f"data.molecules: {wanted} is more than there are (allowed are 1 to {len(train)}).{reasons}")
    for name, molecules in (("train", train), ("test", test)):
        if not molecules:
            raise UserError(f"data: no molecule is left for the {name} split.{reasons}")


def splits(data: Data, left_out: LeftOut) -> tuple[list[Molecule], list[Molecule]]:
    """The train and test molecules, disjoint up to stereoisomers and isotopes.

    Args:
        data: the `data` section.
        left_out: counts skipped molecules by reason.
    """
    seed = stream(digest(data.seed), "molecules")
    wanted, wanted_test = data.molecules, data.test_molecules
    if data.source in ("rdkit", "rdkit_folder"):
        reader = readers.of_rdkit if data.source == "rdkit" else readers.of_geom
        distinct = _distinct(reader(data, seed, left_out), left_out)
        test = list(islice(distinct, wanted_test))
        train = list(islice(distinct, wanted))
    elif data.test is not None:
        of_files = readers.of_sdf if data.source == "sdf" else readers.of_geodiff
        test = _drawn(list(of_files(matching_files(data.test)[0], data, left_out)), wanted_test, seed)
        known = {_graph(molecule) for molecule in test}
        candidates = list(of_files(matching_files(data.train)[0], data, left_out))
        others = [molecule for molecule in candidates if _graph(molecule) not in known]
        if len(others) < len(candidates):
            left_out["molecules to train on that are among those to test on"] += len(candidates) - len(others)
        train = _drawn(others, wanted, seed)
    else:
        alike: dict[str, list[Molecule]] = {}
        for molecule in readers.of_sdf(matching_files(data.train)[0], data, left_out):
            alike.setdefault(_graph(molecule), []).append(molecule)
        groups = list(alike.values())
        order = np.random.default_rng(seed).permutation(len(groups))
        held_out = max(1, round(data.test_fraction * len(groups))) if groups else 0
        test, train = (
            [molecule for index in indices for molecule in groups[index]]
            for indices in (order[:held_out], order[held_out:])
        )
        test, train = test[:wanted_test], train[:wanted]
    most_test = data.conformers if data.test_conformers is None else data.test_conformers
    return _cut(train, data.conformers), _cut(test, most_test)


def conformations(molecules: Iterable[Molecule]) -> Iterator[Conformation]:
    """All conformations, molecule by molecule."""
    for molecule in molecules:
        yield from molecule.conformations


def _graph(molecule: Molecule) -> str:
    return graph_of(molecule.conformations[0].smiles)


def _distinct(molecules: Iterable[Molecule], left_out: LeftOut) -> Iterator[Molecule]:
    seen = set()
    for molecule in molecules:
        graph = _graph(molecule)
        if graph in seen:
            left_out["molecules that were there already"] += 1
        else:
            seen.add(graph)
            yield molecule


def _drawn(molecules: list[Molecule], wanted: int | None, seed: int) -> list[Molecule]:
    order = np.random.default_rng(seed).permutation(len(molecules))
    return [molecules[index] for index in order[:wanted]]


def _cut(molecules: list[Molecule], most: int | None) -> list[Molecule]:
    return [Molecule(molecule.conformations[:most]) for molecule in molecules]


def _thinned(rows: Iterable[Conformation], data: Data) -> Iterator[Conformation]:
    """At most `data.rows` conformations, subsampled in order."""
    conformers = list(rows)
    if data.rows is None or len(conformers) <= data.rows:
        yield from conformers
        return
    generator = np.random.default_rng(stream(digest(data.seed), "rows"))
    for index in np.sort(generator.choice(len(conformers), size=data.rows, replace=False)):
        yield conformers[index]
