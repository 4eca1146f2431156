"""Conformations of the molecules that are trained on, which are not trained on themselves."""

from collections.abc import Iterator, Mapping, Sequence

from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import readers
from selfloop.domains.molecule.data.chemistry import LeftOut
from selfloop.domains.molecule.data.conformations import Floats
from selfloop.identity import digest, stream
from selfloop.inputs.paths import matching_files


def held_out(data: Data, trained: Mapping[str, Sequence[Floats]]) -> dict[str, list[Floats]]:
    """By SMILES, further conformations of molecules, as many as are trained on, of molecules that have so many.

    They are those that the source has next: rdkit makes more, GEOM has less likely ones, files have later entries.
    Nothing is read where all conformations of a molecule are trained on: where `conformers` and `rows` are null.

    Args:
        data: the `data` section, of which `trained` have been read.
        trained: by SMILES, the coordinates that are trained on.
    """
    if data.conformers is None and data.rows is None:
        return {}
    most = None if data.conformers is None else 2 * data.conformers
    waiting, found = set(trained), dict[str, list[Floats]]()
    for molecule in _molecules(data.changed(conformers=most, test_conformers=None)):
        smiles = molecule.conformations[0].smiles
        if smiles in waiting:
            waiting.remove(smiles)
            known = {points.tobytes() for points in trained[smiles]}
            others = [each.coordinates for each in molecule.conformations if each.coordinates.tobytes() not in known]
            if len(others) >= len(trained[smiles]):
                found[smiles] = others[: len(trained[smiles])]
        if not waiting:
            break
    return found


def _molecules(data: Data) -> Iterator[readers.Molecule]:
    """All molecules of the source, in the order in which they are split."""
    if data.source in ("rdkit", "rdkit_folder"):
        reader = readers.of_rdkit if data.source == "rdkit" else readers.of_geom
        return reader(data, stream(digest(data.seed), "molecules"), LeftOut())
    of_files = readers.of_sdf if data.source == "sdf" else readers.of_geodiff
    return of_files(matching_files(data.train)[0], data, LeftOut())
