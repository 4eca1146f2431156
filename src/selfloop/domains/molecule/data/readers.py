"""Readers of real conformations, one molecule at a time. Skipped molecules are counted by reason."""

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selfloop.config.section import given
from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import sources
from selfloop.domains.molecule.data.chemistry import Rejected, check, conformations_of
from selfloop.domains.molecule.data.conformations import Conformation
from selfloop.domains.molecule.data.pickles import Record, read_pickle
from selfloop.errors import UserError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

EMBEDDING_ATTEMPTS = 10


class Molecule(NamedTuple):
    """Conformations of one molecule, with the same SMILES."""

    conformations: list[Conformation]


def of_rdkit(data: Data, seed: int, left_out: Counter[str]) -> Iterator[Molecule]:
    """Molecules that ship with rdkit (of the NCI's open database), shuffled, with conformers generated lazily.

    ETKDG distance geometry, then the MMFF force field.

    Args:
        data: the `data` section; gives the number of conformers per molecule.
        seed: of the order and the embedding.
        left_out: counts skipped molecules by reason.

    Raises:
        UserError: rdkit's file is missing.
    """
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    path = sources.rdkit_smiles()
    if path is None:
        raise UserError(f"rdkit's {sources.SMILES_FILE} is not there; install the pinned rdkit.")
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    conformers: Any = _most_conformers(data)  # never None with source rdkit
    for index in np.random.default_rng(seed).permutation(len(lines)):
        smiles, name = lines[index][0], f"NCI {lines[index][1]}" if len(lines[index]) > 1 else f"NCI line {index + 1}"
        mol = Chem.MolFromSmiles(smiles)
        try:
            if mol is None:
                raise Rejected("that do not parse")
            mol = Chem.AddHs(mol)
            check(mol)
            _check_size(mol, data)
            parameters: Any = rdDistGeom.ETKDGv3()
            parameters.randomSeed = int(seed + index) % 2**31
            parameters.maxIterations = EMBEDDING_ATTEMPTS
            rdDistGeom.EmbedMultipleConfs(mol, conformers, parameters)
            if mol.GetNumConformers() == 0:
                raise Rejected("that cannot be embedded")
            if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
                raise Rejected("without parameters in the MMFF force field")
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, numThreads=1)
            conformations = list(conformations_of(mol, name))
        except Rejected as reason:
            left_out[str(reason)] += 1
            continue
        yield Molecule(conformations)


def of_sdf(paths: list[Path], data: Data, left_out: Counter[str]) -> Iterator[Molecule]:
    """The molecules of SDF files in order of first appearance; an entry is a conformer.

    Entries with the same SMILES are one molecule. With `match_names`, entries of one name must be.

    Args:
        paths: .sdf or .sdf.gz.
        data: the `data` section.
        left_out: counts skipped entries by reason.

    Raises:
        UserError: a file cannot be read.
    """
    from rdkit import RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    molecules: dict[str, list[Conformation]] = {}
    names: dict[str, str] = {}
    for path in paths:
        for block in entries(path):
            try:
                mol = _parsed(block)
                name = mol.GetProp("_Name")
                _check_size(mol, data)
                (conformation,) = conformations_of(mol, name)
                smiles = conformation.smiles
                if data.match_names and name and names.setdefault(name, smiles) != smiles:
                    raise Rejected("that are not of the molecule of their name")
            except Rejected as reason:
                left_out[str(reason)] += 1
                continue
            molecules.setdefault(smiles, []).append(conformation)
    yield from map(Molecule, molecules.values())


def entries(path: Path) -> Iterator[str]:
    """The entries of an SDF file as strings, without their $$$$ lines.

    rdkit's own reader turns the error of a damaged archive into a `SystemError`.

    Raises:
        UserError: the file cannot be read, or is truncated.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            lines: list[str] = []
            for line in file:
                if line.startswith("$$$$"):
                    yield "".join(lines)
                    lines = []
                else:
                    lines.append(line)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if any(line.strip() for line in lines):
        yield "".join(lines)


def _parsed(block: str) -> "Mol":
    from rdkit import Chem

    try:
        mol = Chem.MolFromMolBlock(block, removeHs=False)
    except (RuntimeError, ValueError):
        mol = None
    if mol is None:
        raise Rejected("that do not parse")
    return mol


def of_geom(data: Data, seed: int, left_out: Counter[str]) -> Iterator[Molecule]:
    """The molecules of GEOM's `rdkit_folder` (Axelrod & Gómez-Bombarelli 2022), shuffled.

    The archive holds a JSON summary and a pickle of conformers per molecule. Conformers come by descending Boltzmann
    weight, as many as either split takes, as in GeoDiff's splits.

    Args:
        data: the `data` section.
        seed: of the order.
        left_out: counts skipped molecules by reason.

    Raises:
        UserError: the summary is missing or damaged, or a pickle is refused.
    """
    folder = Path(os.path.expanduser(given(data.folder)))
    summary = sources.summary_file(given(data.folder))
    if summary is None:
        raise UserError(
            f"data.folder: '{folder}' holds none of {', '.join(sources.SUMMARIES)}; name the folder that GEOM's "
            "archive rdkit_folder.tar.gz unpacks to."
        )
    try:
        contents = json.loads(summary.read_text(encoding="utf-8"))
        entries = [(str(smiles), dict(entry)) for smiles, entry in contents.items()]
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{summary} is not a table of molecules in JSON ({error}).") from None
    for index in np.random.default_rng(seed).permutation(len(entries)):
        smiles, entry = entries[index]
        name = entry.get("pickle_path")
        if not isinstance(name, str) or not entry.get("uniqueconfs"):
            left_out["without conformers in the table of contents"] += 1
            continue
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise UserError(f"{summary}: the pickle_path '{name}' of {smiles} leads out of the folder.")
        if not path.is_file():
            left_out["whose pickle is not there"] += 1
            continue
        read = read_pickle(path)
        conformers = read.get("conformers") if isinstance(read, dict) else None
        if not isinstance(conformers, list) or not all(isinstance(conformer, dict) for conformer in conformers):
            raise UserError(f"{path} holds no list of conformers.")
        weights = np.array([_number(conformer.get("boltzmannweight")) for conformer in conformers])
        chosen = np.argsort(-weights, kind="stable")[: _most_conformers(data)]
        mols = [conformers[k].get("rd_mol") for k in chosen]
        conformations = list(_matching(mols, smiles, data, left_out))
        if conformations:
            yield Molecule(conformations)


def of_geodiff(paths: list[Path], data: Data, left_out: Counter[str]) -> Iterator[Molecule]:
    """The molecules of GeoDiff's processed splits: pickled lists of torch-geometric 1.x `Data`, one per conformer.

    The attribute `rdmol` holds molecule and coordinates; the tensors, which repeat them, are not read.

    Args:
        paths: such as train_data_40k.pkl.
        data: the `data` section.
        left_out: counts skipped conformers by reason.

    Raises:
        UserError: a pickle is damaged, refused, or not such a list.
    """
    molecules: dict[str, list[Any]] = {}
    for path in paths:
        entries = read_pickle(path)
        if not isinstance(entries, list) or not all(isinstance(entry, Record) for entry in entries):
            raise UserError(f"{path} is not a list of torch-geometric 1.x Data.")
        for entry in entries:
            molecules.setdefault(str(getattr(entry, "smiles", "")), []).append(getattr(entry, "rdmol", None))
    for smiles, mols in molecules.items():
        conformations = list(_matching(mols, smiles, data, left_out))
        if conformations:
            yield Molecule(conformations)


def _matching(mols: list[Any], name: str, data: Data, left_out: Counter[str]) -> Iterator[Conformation]:
    """The conformers of the same molecule as the first usable one; the others are counted."""
    from rdkit import Chem

    first: str | None = None
    for mol in mols:
        try:
            if not isinstance(mol, Chem.Mol):
                raise Rejected("without a molecule")
            _check_size(mol, data)
            for conformation in conformations_of(mol, name):
                first = first or conformation.smiles
                if conformation.smiles != first:
                    raise Rejected("conformers that do not match their molecule")
                yield conformation
        except Rejected as reason:
            left_out[str(reason)] += 1


def _most_conformers(data: Data) -> int | None:
    """Maximum conformers per molecule over both splits: the split of a molecule is not yet known."""
    most: int | None = data.conformers
    most_test: int | None = data.test_conformers
    return most if most is None or most_test is None else max(most, most_test)


def _check_size(mol: "Mol", data: Data) -> None:
    most = data.max_atoms
    if most is not None and mol.GetNumAtoms() > most:
        raise Rejected(f"of more than {most} atoms")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -1.0
