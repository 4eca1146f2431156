"""Readers of real conformations, one molecule at a time. Skipped molecules are counted by reason."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selfloop.config.section import given
from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import sources
from selfloop.domains.molecule.data.chemistry import LeftOut, Rejected, check, conformations_of
from selfloop.domains.molecule.data.conformations import Conformation
from selfloop.domains.molecule.data.pickles import Record, in_child, read_pickle
from selfloop.errors import UserError
from selfloop.inputs.files import LONGEST, json_object, lines, place, too_long

if TYPE_CHECKING:
    from rdkit.Chem import Mol

EMBEDDING_ATTEMPTS = 10
EMBEDDED = "entries hold another molecule among their properties, which is not read"


class Molecule(NamedTuple):
    """Conformations of one molecule, with the same SMILES."""

    conformations: list[Conformation]


def of_rdkit(data: Data, seed: int, left_out: LeftOut) -> Iterator[Molecule]:
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
    conformers = given(_most_conformers(data))
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


def of_sdf(paths: list[Path], data: Data, left_out: LeftOut) -> Iterator[Molecule]:
    """The molecules of SDF files in order of first appearance; an entry is a conformer.

    Entries with the same SMILES are one molecule. With `match_names`, entries of one name must be, unless less than
    half of them are of the first one's molecule: such a title is not a name, and says nothing of its entries.

    Args:
        paths: .sdf or .sdf.gz.
        data: the `data` section.
        left_out: counts skipped entries by reason.

    Raises:
        UserError: a file cannot be read.
    """
    from rdkit import RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    read: list[tuple[Conformation, str]] = []
    titles: dict[str, Counter[str]] = {}  # by title, entries of each SMILES in order of appearance
    for path in paths:
        empty = True
        for entry in entries(path):
            empty = False
            if entry.embedded:
                left_out.notes.add(EMBEDDED, place(path, entry.line))
            try:
                if entry.merged:
                    raise Rejected("that hold several molecules, for want of a $$$$ line between them")
                mol = _parsed(entry.block)
                _check_size(mol, data)
                (conformation,) = conformations_of(mol, mol.GetProp("_Name"))
            except Rejected as reason:
                left_out.add(str(reason), place(path, entry.line))
                continue
            read.append((conformation, place(path, entry.line)))
            titles.setdefault(conformation.name, Counter())[conformation.smiles] += 1
        if empty:
            left_out.notes.add("empty files", str(path))
    owners = {title: next(iter(of)) for title, of in titles.items() if title and data.match_names}
    no_names = {title for title, first in owners.items() if 2 * titles[title][first] < titles[title].total()}
    if no_names:
        left_out.notes[
            f"titles, such as {min(no_names)!r}, are shared by different molecules and not taken for names"
        ] = len(no_names)
    molecules: dict[str, list[Conformation]] = {}
    for conformation, where in read:
        owner = None if conformation.name in no_names else owners.get(conformation.name)
        if owner in (None, conformation.smiles):
            molecules.setdefault(conformation.smiles, []).append(conformation)
        else:
            left_out.add("that are not of the molecule of their name (data.match_names: false keeps them)", where)
    yield from map(Molecule, molecules.values())


class Entry(NamedTuple):
    """An entry of an SDF file.

    Attributes:
        block: its mol block; properties are not decoded.
        line: where it begins, from 1.
        merged: whether a second mol block follows at once.
        embedded: whether there is one among the properties.
    """

    block: str
    line: int
    merged: bool
    embedded: bool


def entries(path: Path) -> Iterator[Entry]:
    """The entries of an SDF file.

    rdkit's own reader turns the error of a damaged archive into a `SystemError`.

    Raises:
        UserError: the file cannot be read, is truncated, or has an entry of more than LONGEST bytes.
    """
    block: list[bytes] = []
    ends: list[bool] = []  # of each mol block, whether it is among the properties
    start, length, properties = 1, 0, False

    def entry() -> Entry:
        try:
            text = b"\n".join([*block, b""]).decode("utf-8")
        except UnicodeDecodeError:
            text = b"\n".join([*block, b""]).decode("latin-1")
        return Entry(text, start, False in ends[1:], True in ends[1:])

    for line in lines(path):
        content = line.content
        closed = b"$$$$" in content and (content.startswith(b"$$$$") or content.rstrip().endswith(b"$$$$"))
        if line.joined and any(part.strip() for part in block):
            yield entry()
            block, ends, start, length, properties = [], [], line.number, 0, False
        if not ends:
            block.append(content.rstrip().removesuffix(b"$$$$") if closed else content)
        length += len(content) + 1
        if length > LONGEST:
            raise UserError(too_long("entry", place(path, start)))
        if content.startswith(b"M  END"):
            ends.append(properties)
        properties = properties or content.startswith(b">")
        if closed:
            yield entry()
            block, ends, start, length, properties = [], [], line.number + 1, 0, False
    if any(part.strip() for part in block):
        yield entry()


def _parsed(block: str) -> "Mol":
    from rdkit import Chem

    try:
        mol = Chem.MolFromMolBlock(block, removeHs=False)
    except (RuntimeError, ValueError):
        mol = None
    if mol is None:
        raise Rejected("that do not parse")
    return mol


def of_geom(data: Data, seed: int, left_out: LeftOut) -> Iterator[Molecule]:
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
        contents = json.loads(summary.read_text(encoding="utf-8-sig"), object_pairs_hook=json_object)
        if getattr(contents, "twice", None):
            raise ValueError(f"it has {min(contents.twice)!r} twice")
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
        conformations = list(_matching(in_child(_geom_conformers, path, smiles, data), left_out, str(path)))
        if conformations:
            yield Molecule(conformations)


Converted = tuple[list[Conformation], str | None]  # conformations of a molecule object, and why others are left out


def _geom_conformers(path: Path, smiles: str, data: Data) -> list[Converted]:
    """The likeliest conformers of one of GEOM's pickles."""
    read = read_pickle(path)
    conformers = read.get("conformers") if isinstance(read, dict) else None
    if not isinstance(conformers, list) or not all(isinstance(conformer, dict) for conformer in conformers):
        raise UserError(f"{path} holds no list of conformers.")
    weights = np.array([_number(conformer.get("boltzmannweight")) for conformer in conformers])
    chosen = np.argsort(-weights, kind="stable")[: _most_conformers(data)]
    return [_converted(conformers[k].get("rd_mol"), smiles, data) for k in chosen]


def of_geodiff(paths: list[Path], data: Data, left_out: LeftOut) -> Iterator[Molecule]:
    """The molecules of GeoDiff's processed splits: pickled lists of torch-geometric 1.x `Data`, one per conformer.

    The attribute `rdmol` holds molecule and coordinates; the tensors, which repeat them, are not read.

    Args:
        paths: such as train_data_40k.pkl.
        data: the `data` section.
        left_out: counts skipped conformers by reason.

    Raises:
        UserError: a pickle is damaged, refused, or not such a list.
    """
    molecules: dict[str, list[Converted]] = {}
    for path in paths:
        conformers = in_child(_geodiff_conformers, path, data)
        if not conformers:
            left_out.notes.add("empty files", str(path))
        for smiles, converted in conformers:
            molecules.setdefault(smiles, []).append(converted)
    for smiles, of_one in molecules.items():
        conformations = list(_matching(of_one, left_out, smiles))
        if conformations:
            yield Molecule(conformations)


def _geodiff_conformers(path: Path, data: Data) -> list[tuple[str, Converted]]:
    """The SMILES and conformers of one of GeoDiff's pickles."""
    entries = read_pickle(path)
    if not isinstance(entries, list) or not all(isinstance(entry, Record) for entry in entries):
        raise UserError(f"{path} is not a list of torch-geometric 1.x Data.")
    named = [(str(getattr(entry, "smiles", "")), getattr(entry, "rdmol", None)) for entry in entries]
    return [(smiles, _converted(mol, smiles, data)) for smiles, mol in named]


def _converted(mol: object, name: str, data: Data) -> Converted:
    from rdkit import Chem

    conformations: list[Conformation] = []
    try:
        if not isinstance(mol, Chem.Mol):
            raise Rejected("without a molecule")
        _check_size(mol, data)
        conformations.extend(conformations_of(mol, name))
    except Rejected as reason:
        return conformations, str(reason)
    return conformations, None


def _matching(read: list[Converted], left_out: LeftOut, where: str) -> Iterator[Conformation]:
    """The conformers of the same molecule as the first usable one; the others are counted."""
    first: str | None = None
    for conformations, reason in read:
        for conformation in conformations:
            first = first or conformation.smiles
            if conformation.smiles != first:
                reason = "conformers that do not match their molecule"
                break
            yield conformation
        if reason:
            left_out.add(reason, where)


def _most_conformers(data: Data) -> int | None:
    """Maximum conformers per molecule over both splits: the split of a molecule is not yet known."""
    most: int | None = data.conformers
    most_test: int | None = data.test_conformers
    return most if most is None or most_test is None else max(most, most_test)


def _check_size(mol: "Mol", data: Data) -> None:
    most = data.max_atoms
    if most is not None and mol.GetNumAtoms() > most:
        raise Rejected(f"of more than {most} atoms")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else -1.0
