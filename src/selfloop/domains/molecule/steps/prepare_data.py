"""Rule prepare_data: real conformations as Parquet, split by molecule."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from selfloop.config.section import given
from selfloop.data.contents import unchanged
from selfloop.data.shards import no_validation
from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import readers, sources
from selfloop.domains.molecule.data.chemistry import LeftOut, graph_of
from selfloop.domains.molecule.data.conformations import SCHEMA, Conformation, write_conformations
from selfloop.domains.molecule.data.readers import Molecule
from selfloop.errors import UserError
from selfloop.identity import digest, stream
from selfloop.inputs.paths import matching_files
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data
    contents: str | None = None


def run(job: Job[Params]) -> None:
    """Read the source that `job.params.data` names, and write the splits."""
    with unchanged(job.params.contents, lambda: sources.input_files(job.params.data)):
        _prepare(job)


def _prepare(job: Job[Params]) -> None:
    data = job.params.data
    left_out = LeftOut()
    train, test, watched, others = splits(data, left_out)
    if data.reserve and data.molecules is None:
        train, others = _parted(train, data.reserve)
    for note in left_out.notes.described():
        job.log.info("%s", note)
    reasons = ", ".join(left_out.described())
    if reasons:
        job.log.info("left out: %s", reasons)
    _check_numbers(train, test, data, f" Left out were {reasons}." if reasons else "")
    if data.validation_fraction is not None:
        train, watched = _held_out(train, data)
    watched = watched[: data.validation_molecules]
    if watched:
        count = write_conformations(conformations(watched), Path(job.output["validation"]))
        job.log.info("%d conformations of %d molecules for validation", count, len(watched))
    elif data.validation is not None:
        raise UserError("data.validation: no molecule is left for the validation split.")
    else:
        no_validation(Path(job.output["validation"]), SCHEMA)
    rows = list(_thinned(conformations(train), data))
    job.log.info("%d conformations of %d molecules to train on", len(rows), len(train))
    write_conformations(rows, Path(job.output["train"]))
    if "reserve" in job.output:
        kept = _reserved(others, watched, len(rows), data.reserve)
        job.log.info("%d conformations in the reserve", write_conformations(kept, Path(job.output["reserve"])))
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


def _held_out(molecules: list[Molecule], data: Data) -> tuple[list[Molecule], list[Molecule]]:
    """The molecules left to train on, and those of the validation split; stereoisomers stay together."""
    alike: dict[str, list[Molecule]] = {}
    for molecule in molecules:
        alike.setdefault(_graph(molecule), []).append(molecule)
    groups = list(alike.values())
    if len(groups) < 2:
        raise UserError(
            f"data.validation_fraction: {data.validation_fraction} of one molecule leaves none to train on "
            "(allowed are data of at least 2 molecules)."
        )
    wanted = min(len(groups) - 1, max(1, round(given(data.validation_fraction) * len(groups))))
    order = np.random.default_rng(stream(digest(data.seed), "validation split")).permutation(len(groups))
    drawn = set(order[:wanted].tolist())
    kept = [molecule for index, group in enumerate(groups) if index not in drawn for molecule in group]
    return kept, [molecule for index in order[:wanted] for molecule in groups[index]]


def _parted(molecules: list[Molecule], reserve: float) -> tuple[list[Molecule], list[Molecule]]:
    """The molecules to train on and those of the reserve, of all of them."""
    ends = np.cumsum([len(molecule.conformations) for molecule in molecules])
    fits = np.flatnonzero(ends[-1] - ends >= np.round(ends * reserve))
    if not len(fits):
        raise UserError(f"data.reserve: {reserve:g} leaves no molecule to train on, of {len(molecules)}; lower it.")
    return molecules[: fits[-1] + 1], molecules[fits[-1] + 1 :]


def _reserved(
    molecules: Iterable[Molecule], watched: Sequence[Molecule], rows: int, reserve: float
) -> list[Conformation]:
    """The conformations of the reserve beside `rows` to train on, of molecules that are not in the validation split."""
    known = {_graph(molecule) for molecule in watched}
    wanted = round(rows * reserve)
    others = (molecule for molecule in molecules if _graph(molecule) not in known)
    kept = list(islice(conformations(others), wanted))
    if len(kept) < wanted:
        raise UserError(
            f"data.reserve: {reserve:g} needs {wanted:,} conformations beside the {rows:,} to train on, and there are "
            f"{len(kept):,}; lower it, or train on fewer molecules."
        )
    return kept


def splits(data: Data, left_out: LeftOut) -> tuple[list[Molecule], list[Molecule], list[Molecule], Iterable[Molecule]]:
    """The molecules to train on, to test on, and of the validation files, disjoint up to stereoisomers and isotopes.

    The last ones are others, for the reserve; they are read as they are taken.

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
        rest: Iterable[Molecule] = distinct
    elif data.test is not None:
        of_files = readers.of_sdf if data.source == "sdf" else readers.of_geodiff
        test = _drawn(list(of_files(matching_files(data.test)[0], data, left_out)), wanted_test, seed)
        known = {_graph(molecule) for molecule in test}
        candidates = list(of_files(matching_files(data.train)[0], data, left_out))
        others = [molecule for molecule in candidates if _graph(molecule) not in known]
        if len(others) < len(candidates):
            left_out["molecules to train on that are among those to test on"] += len(candidates) - len(others)
        drawn = _drawn(others, None, seed)
        train, rest = drawn[:wanted], drawn[len(drawn) if wanted is None else wanted :]
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
        test, train, rest = test[:wanted_test], train[:wanted], train[len(train) if wanted is None else wanted :]
    watched: list[Molecule] = []
    if data.validation is not None:
        of_files = readers.of_sdf if data.source == "sdf" else readers.of_geodiff
        watched = list(of_files(matching_files(data.validation)[0], data, left_out))
        tested, watched_graphs = {_graph(molecule) for molecule in test}, {_graph(molecule) for molecule in watched}
        # What is tested on stays as it is without a validation split.
        kept = [molecule for molecule in watched if _graph(molecule) not in tested]
        if len(kept) < len(watched):
            left_out["validation molecules that are among those to test on"] += len(watched) - len(kept)
        others = [molecule for molecule in train if _graph(molecule) not in watched_graphs]
        if len(others) < len(train):
            left_out["molecules to train on that are among those for validation"] += len(train) - len(others)
        watched, train = _drawn(kept, None, stream(digest(data.seed), "validation split")), others
    most_test = data.conformers if data.test_conformers is None else data.test_conformers
    rest = (Molecule(molecule.conformations[: data.conformers]) for molecule in rest)
    return _cut(train, data.conformers), _cut(test, most_test), _cut(watched, data.conformers), rest


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
