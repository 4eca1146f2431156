"""Real conformations: SDF files, rdkit's own molecules, and files made in the layout of GEOM's and GeoDiff's archives.

The archives themselves are many gigabytes and not here: the tests write small files of the same layout.
"""

import gzip
import json
import os
import pickle
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdForceFieldHelpers
from rdkit.Geometry import Point3D

from selfloop.data.shards import count_rows
from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import readers, sources
from selfloop.domains.molecule.data.chemistry import LeftOut
from selfloop.domains.molecule.data.conformations import Conformation, read_conformations
from selfloop.domains.molecule.steps import prepare_data
from selfloop.errors import UserError
from selfloop.jobs.job import Job

from .conftest import write_entries

Make = Callable[..., Any]
SPLITS = ("train", "test", "validation")


def read(data: Data) -> tuple[list[Conformation], list[Conformation], LeftOut]:
    """Train rows, test rows, and what was left out."""
    left_out = LeftOut()
    train, test, *_ = prepare_data.splits(data, left_out)
    return list(prepare_data.conformations(train)), list(prepare_data.conformations(test)), left_out


def names(rows: list[Conformation]) -> set[str]:
    return {row.name for row in rows}


ALCOHOLS = [f"{'C' * n}O" for n in range(2, 10)]


@pytest.fixture
def sdf(tmp_path: Path, mol: Make) -> Path:
    """Eight molecules, two conformers of each."""
    return write_entries(tmp_path / "alcohols.sdf", *(mol(smiles) for smiles in ALCOHOLS), names=ALCOHOLS)


def test_an_sdf_file_is_split_by_molecule(sdf: Path, data: Make) -> None:
    train, test, left_out = read(data(train=str(sdf)))
    assert not left_out
    assert (len(train), len(test)) == (12, 4)
    assert names(train) | names(test) == set(ALCOHOLS)
    assert not names(train) & names(test)
    assert {row.smiles for row in train}.isdisjoint(row.smiles for row in test)


def test_atoms_stand_in_the_order_of_the_smiles(sdf: Path, data: Make) -> None:
    parser = Chem.SmilesParserParams()
    parser.removeHs = False
    for row in read(data(train=str(sdf)))[0]:
        parsed = Chem.MolFromSmiles(row.smiles, parser)
        assert [atom.GetAtomicNum() for atom in parsed.GetAtoms()] == row.atomic_numbers.tolist()
        bonds = {(*sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())), int(b.GetBondType())) for b in parsed.GetBonds()}
        assert bonds == {tuple(bond) for bond in row.bonds.tolist()}
        lengths = np.linalg.norm(row.coordinates[row.bonds[:, 0]] - row.coordinates[row.bonds[:, 1]], axis=1)
        assert 0.9 < lengths.min() < lengths.max() < 1.7  # so the coordinates are those of these atoms


def test_compressed_files_and_globs_are_read(sdf: Path, data: Make, tmp_path: Path) -> None:
    (tmp_path / "packed.sdf.gz").write_bytes(gzip.compress(sdf.read_bytes()))
    plain, packed = (read(data(train=str(tmp_path / pattern)))[0] for pattern in ("alco*.sdf", "*.sdf.gz"))
    assert [row.name for row in plain] == [row.name for row in packed]


def test_the_seed_decides_which_molecules_are_held_out(sdf: Path, data: Make) -> None:
    held_out = [frozenset(names(read(data(train=str(sdf), seed=seed))[1])) for seed in (0, 0, 1, 2, 3)]
    assert held_out[0] == held_out[1]
    assert len(set(held_out)) > 1


def test_limits_on_molecules_conformers_rows_and_size(sdf: Path, data: Make) -> None:
    limits = {"molecules": 3, "test_molecules": 1, "conformers": 1, "test_conformers": 2}
    train, test, _ = read(data(train=str(sdf), **limits))
    assert (len(train), len(test)) == (3, 2)
    small, _, left_out = read(data(train=str(sdf), max_atoms=15))
    assert max(len(row.atomic_numbers) for row in small) <= 15
    assert left_out == {"of more than 15 atoms": 10}  # five molecules of 18 atoms or more, two conformers each


def test_a_test_file_of_its_own_takes_its_molecules_from_those_to_train_on(
    sdf: Path, data: Make, tmp_path: Path, mol: Make
) -> None:
    other = write_entries(tmp_path / "other.sdf", mol("CCO"), mol("CCN"), names=["CCO", "CCN"])
    train, test, left_out = read(data(train=str(sdf), test=str(other)))
    assert names(test) == {"CCO", "CCN"}
    assert names(train) == set(ALCOHOLS) - {"CCO"}
    assert left_out == {"molecules to train on that are among those to test on": 1}


ISOMERS = ["F/C=C/F", "F/C=C\\F", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "FC(Cl)Br", "[2H]C(F)(Cl)Br"]
PAIRS = [set(ISOMERS[place : place + 2]) for place in (0, 2, 4)]


@pytest.mark.parametrize("seed", range(6))
def test_molecules_that_are_alike_to_the_network_are_held_out_together(
    seed: int, tmp_path: Path, mol: Make, data: Make
) -> None:
    """Mirror images, E and Z isomers, isotopes: atoms, bonds and distances are all that it sees."""
    path = write_entries(tmp_path / "isomers.sdf", *(mol(smiles, 1) for smiles in ISOMERS), names=ISOMERS)
    train, test, left_out = read(data(train=str(path), seed=seed, test_fraction=0.3))
    assert not left_out
    assert names(test) in PAIRS
    assert names(train) == set(ISOMERS) - names(test)
    assert len({row.smiles for row in train + test}) == 6


def test_an_isomer_of_a_molecule_in_the_test_file_is_not_trained_on(tmp_path: Path, mol: Make, data: Make) -> None:
    train, test = (
        write_entries(tmp_path / f"{place}.sdf", *(mol(smiles, 1) for smiles in isomers), names=isomers)
        for place, isomers in enumerate(([*ISOMERS[::2], "CCO"], ISOMERS[1::2]))
    )
    rows, _, left_out = read(data(train=str(train), test=str(test)))
    assert names(rows) == {"CCO"}
    assert left_out == {"molecules to train on that are among those to test on": 3}


BROKEN = "broken\n\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n    0.0 nonsense\nM  END\n"


def with_coordinate(mol: Chem.Mol, value: float) -> str:
    """An entry whose first coordinate is this value, which a molecule's writer would not write."""
    mol.GetConformer(0).SetAtomPosition(0, Point3D(12.3456, 0, 0))
    return Chem.MolToMolBlock(mol).replace("   12.3456", f"{value!s:>10}", 1)


def test_entries_that_cannot_be_used_are_counted_by_reason_and_left_out(tmp_path: Path, mol: Make, data: Make) -> None:
    dummy = mol("CCO", 1)
    dummy.GetAtomWithIdx(2).SetAtomicNum(0)
    flat = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDepictor.Compute2DCoords(flat)
    good = [mol(smiles, 1) for smiles in ALCOHOLS[:4]]
    entries = [
        BROKEN,
        mol("[Na+]", 1),
        mol("CCO.O", 1),
        dummy,
        with_coordinate(mol("CCO", 1), float("nan")),
        flat,
        Chem.RemoveHs(mol("CCO", 1)),
        *good,
    ]
    path = write_entries(tmp_path / "mixed.sdf", *entries)
    train, test, left_out = read(data(train=str(path)))
    assert len(train) + len(test) == 4
    assert sum(left_out.values()) == 7
    assert set(left_out) == {
        "that do not parse",  # rdkit does not read "nan" as a coordinate
        "of less than two atoms",
        "of disconnected fragments",
        "with an element outside the table (R)",
        "without 3D coordinates",
        "with hydrogens missing",
    }
    assert left_out["that do not parse"] == 2
    assert left_out.first["that do not parse"] == f"{path}, line 1"
    second = path.read_text().split("$$$$\n")[0].count("\n") + 2
    assert f"1 of less than two atoms (first: {path}, line {second})" in left_out.described()


@pytest.mark.parametrize("kind", [5, 6, 7, 8])
def test_an_entry_with_a_bond_of_no_definite_type_is_left_out(kind: int, tmp_path: Path, mol: Make, data: Make) -> None:
    """SDF's queries: single or double, single or aromatic, double or aromatic, any."""
    block = Chem.MolToMolBlock(mol("CCO", 1))
    assert block.count("  1  2  1  0\n") == 1
    entry = block.replace("  1  2  1  0\n", f"  1  2  {kind}  0\n")
    path = write_entries(tmp_path / "query.sdf", entry, *(mol(smiles, 1) for smiles in ALCOHOLS[1:4]))
    train, test, left_out = read(data(train=str(path)))
    assert len(train) + len(test) == 3
    assert left_out == {"with a bond of no definite type": 1}


def test_a_molecule_with_a_coordinate_that_is_not_finite_is_left_out(geom: Path) -> None:
    path = geom / "drugs/0.pickle"
    content = pickle.loads(path.read_bytes())
    content["conformers"][1]["rd_mol"].GetConformer(0).SetAtomPosition(0, Point3D(float("nan"), 0, 0))
    path.write_bytes(pickle.dumps(content))
    train, test, left_out = read(geom_section(geom))
    assert len(train) + len(test) == 4 * 3 - 1
    assert left_out["with coordinates that are not finite"] == 1


def test_conformers_that_do_not_match_the_molecule_of_their_name_are_left_out(
    tmp_path: Path, mol: Make, data: Make
) -> None:
    entries = [mol(smiles, 1) for smiles in ("CCO", "CCN", "CCC", "CCCl")]
    path = write_entries(tmp_path / "names.sdf", *entries, names=["a", "a", "b", "c"])
    train, test, left_out = read(data(train=str(path)))
    assert len(train) + len(test) == 3
    assert left_out == {"that are not of the molecule of their name (data.match_names: false keeps them)": 1}
    train, test, left_out = read(data(train=str(path), match_names=False))
    assert (len(train) + len(test), sum(left_out.values())) == (4, 0)


@pytest.mark.parametrize("title", ["", "RDKit", "conformer"])
def test_a_title_that_different_molecules_share_is_not_taken_for_a_name(
    title: str, tmp_path: Path, mol: Make, data: Make
) -> None:
    entries = [mol(smiles) for smiles in ALCOHOLS]
    path = write_entries(tmp_path / "titles.sdf", *entries, names=[title] * len(entries))
    train, test, *_ = prepare_data.splits(data(train=str(path)), left_out := LeftOut())
    assert len(train) + len(test) == len(ALCOHOLS)
    assert all(len(molecule.conformations) == 2 for molecule in train + test)
    assert not left_out
    said = {f"titles, such as {title!r}, are shared by different molecules and not taken for names": 1}
    assert left_out.notes == (said if title else {})


COORDINATES = re.compile(r"^(.{10})(.{10})(.{10})(?= [A-Z])", re.MULTILINE)


def moved(block: str, where: Callable[..., tuple[float, ...]]) -> str:
    """A mol block with other coordinates; it still says 3D."""
    assert " 3D" in block.split("\n")[1]
    return COORDINATES.sub(lambda at: "".join(f"{x:10.4f}" for x in where(*map(float, at.groups()))), block)


def drawn(smiles: str) -> str:
    """A drawing that says 3D."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDepictor.Compute2DCoords(mol)
    return Chem.MolToMolBlock(mol).replace(" 2D", " 3D", 1)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (lambda x, y, z: (0, 0, 0), "with atoms in one place"),
        (lambda x, y, z: (1, 2, 3), "with atoms in one place"),
        (lambda x, y, z: (x / 10, y / 10, z / 10), "with atoms in one place"),  # nm
        (lambda x, y, z: (x, 0, 0), "with atoms in one place|with flat coordinates, as of a drawing"),
        (lambda x, y, z: (x, y, 0), "with atoms in one place|with flat coordinates, as of a drawing"),
        (lambda x, y, z: (x, y, x + y), "with atoms in one place|with flat coordinates, as of a drawing"),
        (lambda x, y, z: (x * 1.89, y * 1.89, z * 1.89), "with bonds of impossible length"),  # Bohr
        (lambda x, y, z: (x * 100, y * 100, z * 100), "with bonds of impossible length"),  # pm
    ],
    ids=["zeros", "one point", "nanometres", "a line", "flat", "flat and tilted", "Bohr", "picometres"],
)
def test_coordinates_that_no_molecule_has_are_left_out_and_counted(
    where: Callable[..., tuple[float, ...]], said: str, tmp_path: Path, mol: Make, data: Make
) -> None:
    bad = [moved(Chem.MolToMolBlock(mol(smiles, 1)), where) for smiles in ALCOHOLS[4:]]
    path = write_entries(tmp_path / "bad.sdf", *(mol(smiles, 1) for smiles in ALCOHOLS[:4]), *bad)
    train, test, left_out = read(data(train=str(path)))
    assert len(train) + len(test) == 4
    assert set(left_out) <= set(said.split("|"))
    assert left_out.total() == 4


def test_a_flat_molecule_stays_and_a_drawing_of_it_does_not(tmp_path: Path, mol: Make, data: Make) -> None:
    flat = [moved(Chem.MolToMolBlock(mol("O", 1)), lambda x, y, z: (x, y, z))]
    benzene = mol("c1ccccc1", 1)
    rdForceFieldHelpers.MMFFOptimizeMolecule(benzene)
    positions = benzene.GetConformer().GetPositions()
    axes = np.linalg.svd(positions - positions.mean(axis=0))[2]
    for atom, (x, y, _) in enumerate((positions - positions.mean(axis=0)) @ axes.T):
        benzene.GetConformer().SetAtomPosition(atom, Point3D(x, y, 0.0))
    flat.append(Chem.MolToMolBlock(benzene))
    drawings = [drawn(smiles) for smiles in ("c1ccccc1", "c1ccncc1", "CCO", "C1CCCCC1", "CC#N", "NCC(=O)O")]
    path = write_entries(tmp_path / "flat.sdf", mol("CCO", 1), *flat, *drawings)
    train, test, left_out = read(data(train=str(path)))
    assert len(train) + len(test) == 3
    assert left_out.total() == len(drawings)
    assert set(left_out) == {"with flat coordinates, as of a drawing", "with bonds of impossible length"}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_bytes_that_are_not_used_refuse_no_file(
    sdf: Path, data: Make, tmp_path: Path, compressed: bool, end: str
) -> None:
    text = sdf.read_text().replace("$$$$\n", "> <NAME>\nGro\xdfe Flasche, 20 \xb0C\n\n$$$$\n")
    text = re.sub(f"^{ALCOHOLS[1]}$", "Gro\xdfe Flasche", text, flags=re.MULTILINE)
    content = text.replace("\n", end).encode("latin-1")
    path = tmp_path / ("vendor.sdf.gz" if compressed else "vendor.sdf")
    path.write_bytes(gzip.compress(content) if compressed else content)
    train, test, left_out = read(data(train=str(path)))
    assert (len(train), len(test)) == (12, 4)
    assert not left_out
    assert names(train) | names(test) == {*ALCOHOLS, "Gro\xdfe Flasche"} - {ALCOHOLS[1]}


def test_joined_files_are_read_as_if_each_were_alone(sdf: Path, data: Make, tmp_path: Path) -> None:
    bom = "\ufeff"
    whole = sdf.read_text(encoding="utf-8")
    halves = whole.split("$$$$\n")
    first, second = "$$$$\n".join(halves[:7]), "$$$$\n".join(halves[7:])  # the first ends without its $$$$
    path = tmp_path / "joined.sdf"
    path.write_text(f"{bom}{first}{bom}{second}", encoding="utf-8")
    train, test, left_out = read(data(train=[str(path), str(empty_file(tmp_path))]))
    assert (len(train), len(test)) == (12, 4)
    assert not left_out
    assert names(train) | names(test) == set(ALCOHOLS)


def empty_file(folder: Path) -> Path:
    (folder / "empty.sdf").write_bytes(b"\n")
    return folder / "empty.sdf"


def test_entries_that_are_not_what_they_seem_are_counted(tmp_path: Path, mol: Make, data: Make) -> None:
    blocks = [Chem.MolToMolBlock(mol(smiles, 1)) for smiles in ALCOHOLS]
    path = tmp_path / "entries.sdf"
    path.write_text(
        f"{blocks[0]}{blocks[1]}$$$$\n"  # no $$$$ between
        f"{blocks[2]}> <DRAWING>\n{blocks[3]}\n$$$$\n"
        f"{blocks[4].rstrip()}$$$$\n"  # at the end of a line
        f"{blocks[5]}> <NAME>\nbutanol$$$$\n"
        f"{blocks[6]}"
    )
    train, test, left_out = read(data(train=[str(path), str(empty_file(tmp_path))]))
    assert len(train) + len(test) == 4
    assert left_out == {"that hold several molecules, for want of a $$$$ line between them": 1}
    assert left_out.notes == {
        "entries hold another molecule among their properties, which is not read": 1,
        "empty files": 1,
    }


def test_an_entry_without_end_is_refused_and_not_held_in_memory(
    tmp_path: Path, data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "LONGEST", 10_000)
    path = tmp_path / "long.sdf.gz"
    path.write_bytes(gzip.compress(b"a line\n" * 10_000))
    with pytest.raises(UserError, match=r"long\.sdf\.gz, line 1: the entry is longer than"):
        read(data(train=str(path)))


@pytest.mark.parametrize(("source", "name"), [("sdf", "pipe.sdf"), ("geodiff", "pipe.pkl")])
def test_a_fifo_among_the_files_is_refused_before_it_is_opened(source: str, name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    found = Data.model_validate({"source": source, "train": str(tmp_path / name), "test": str(tmp_path / "other")})
    assert f"data.train: '{tmp_path / name}' is a FIFO (allowed are files)." in list(sources.problems(found))


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08 truncated"])
def test_a_file_without_a_usable_molecule_stops_with_one_clear_message(
    content: bytes, tmp_path: Path, data: Make
) -> None:
    path = tmp_path / ("bad.sdf.gz" if content else "empty.sdf")
    path.write_bytes(content)
    job = Job(
        input={},
        output={split: str(tmp_path / split) for split in SPLITS},
        params=prepare_data.Params(data=data(train=str(path))),
    )
    with pytest.raises(UserError, match=r"is truncated or damaged|no molecule is left for the train split"):
        prepare_data.run(job)
    assert not (tmp_path / "train").exists()


@pytest.fixture
def nci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six molecules, one of them twice, in the place of those that come with rdkit."""
    path = tmp_path / "nci.smi"
    path.write_text("CCO 1\nOCC 2\nCCC 3\nCCN 4\nCCF 5\nCCCl 6\nCO 7\n", encoding="utf-8")
    monkeypatch.setattr(sources, "rdkit_smiles", lambda: path)


def rdkit_section(**keys: Any) -> Data:
    return Data.model_validate({"source": "rdkit", "molecules": 4, "test_molecules": 2, "conformers": 1, **keys})


@pytest.mark.usefixtures("nci")
@pytest.mark.parametrize("seed", range(4))
def test_of_rdkits_own_molecules_one_that_comes_twice_counts_once(seed: int) -> None:
    train, test, left_out = read(rdkit_section(seed=seed))
    assert len({row.smiles for row in train + test}) == len(train) + len(test) == 6
    assert left_out["molecules that were there already"] <= 1


@pytest.mark.usefixtures("nci")
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"molecules": 5}, r"data\.molecules: 5 is more than there are \(allowed are 1 to 4\)\."),
        ({"test_molecules": 6}, r"data\.test_molecules: 6 leaves none to train on \(allowed are 1 to 5\)\."),
        ({"test_molecules": 99}, r"data\.test_molecules: 99 leaves none to train on \(allowed are 1 to 5\)\."),
        (
            {"max_atoms": 8, "molecules": 3},
            r"3 is more than there are \(allowed are 1 to 1\)\. Left out were 4 of more",
        ),
        ({"source": "sdf", "molecules": 7}, r"data\.molecules: 7 is more than there are \(allowed are 1 to 6\)\."),
    ],
)
def test_fewer_molecules_than_asked_for_stop_the_step(
    keys: dict[str, Any], message: str, sdf: Path, data: Make, tmp_path: Path
) -> None:
    section = data(train=str(sdf), **keys) if "source" in keys else rdkit_section(**keys)
    output = {split: str(tmp_path / split) for split in SPLITS}
    with pytest.raises(UserError, match=message):
        prepare_data.run(Job(input={}, output=output, params=prepare_data.Params(data=section)))
    assert not (tmp_path / "train").exists()


def test_the_step_writes_both_splits_and_thins_the_rows_by_seed(sdf: Path, tmp_path: Path, data: Make) -> None:
    output = {split: str(tmp_path / split) for split in SPLITS}
    prepare_data.run(Job(input={}, output=output, params=prepare_data.Params(data=data(train=str(sdf), rows=7))))
    train, test = (read_conformations(tmp_path / split) for split in ("train", "test"))
    assert (len(train), len(test)) == (7, 4)
    assert not set(train.smiles) & set(test.smiles)
    assert count_rows(tmp_path / "validation") == 0


def prepared(section: Data, folder: Path) -> tuple[set[str], set[str], set[str]]:
    """The molecules of the splits that the step writes."""
    output = {split: str(folder / split) for split in SPLITS}
    prepare_data.run(Job(input={}, output=output, params=prepare_data.Params(data=section)))
    train, test, watched = (set(read_conformations(folder / split).smiles) for split in SPLITS)
    return train, test, watched


def test_a_validation_split_is_held_out_of_the_molecules_to_train_on_and_leaves_the_test_split_alone(
    sdf: Path, tmp_path: Path, data: Make
) -> None:
    without, tested = ({row.smiles for row in rows} for rows in read(data(train=str(sdf)))[:2])
    train, test, watched = prepared(data(train=str(sdf), validation_fraction=0.3), tmp_path / "a")
    assert test == tested
    assert (train | watched, train & watched, len(watched)) == (without, set(), 2)
    few = prepared(data(train=str(sdf), validation_fraction=0.3, validation_molecules=1), tmp_path / "b")
    assert (few[0], len(few[2] & watched)) == (train, 1)
    assert prepared(data(train=str(sdf), validation_fraction=0.3, seed=1), tmp_path / "c")[2] != watched


def test_stereoisomers_are_on_the_same_side_of_a_validation_split(tmp_path: Path, mol: Make, data: Make) -> None:
    twins = [f"{chain}{side}" for chain in ("CC", "CCC", "CCCC") for side in ("[C@H](F)Cl", "[C@@H](F)Cl")]
    path = write_entries(tmp_path / "twins.sdf", *(mol(smiles) for smiles in [*twins, *ALCOHOLS]))
    for seed in range(4):
        splits = prepared(
            data(train=str(path), validation_fraction=0.5, seed=seed, match_names=False), tmp_path / str(seed)
        )
        graphs = [{prepare_data.graph_of(smiles) for smiles in split} for split in splits]
        assert not graphs[0] & graphs[2] and not graphs[1] & graphs[2]


def test_validation_files_are_neither_trained_nor_tested_on(sdf: Path, tmp_path: Path, mol: Make, data: Make) -> None:
    test = write_entries(tmp_path / "test.sdf", mol(ALCOHOLS[0]), names=ALCOHOLS[:1])
    others = write_entries(tmp_path / "others.sdf", *(mol(smiles) for smiles in ALCOHOLS[:3]), names=ALCOHOLS[:3])
    section = data(train=str(sdf), test=str(test), validation=str(others))
    train, tested, watched = prepared(section, tmp_path / "a")
    assert (len(train), len(tested), len(watched)) == (5, 1, 2)
    assert not train & watched and not tested & watched


@pytest.mark.parametrize("keys", [{"molecules": 3}, {}, {"validation_fraction": 0.3}, {"rows": 3}])
def test_a_reserve_has_other_molecules_than_every_other_split(
    sdf: Path, tmp_path: Path, data: Make, keys: dict[str, Any]
) -> None:
    splits = (*SPLITS, "reserve")
    output = {split: str(tmp_path / split) for split in splits}
    section = data(train=str(sdf), reserve=0.5, **keys)
    prepare_data.run(Job(input={}, output=output, params=prepare_data.Params(data=section)))
    assert count_rows(tmp_path / "reserve") == round(0.5 * count_rows(tmp_path / "train")) > 0
    filled = [split for split in splits if count_rows(tmp_path / split)]
    molecules = [set(read_conformations(tmp_path / split).smiles) for split in filled]
    assert len(set().union(*molecules)) == sum(map(len, molecules))
    if "molecules" in keys:
        assert molecules[0] == {row.smiles for row in read(section.changed(reserve=0.0))[0]}


def test_a_reserve_that_the_source_cannot_fill_is_an_error(sdf: Path, tmp_path: Path, data: Make) -> None:
    output = {split: str(tmp_path / split) for split in (*SPLITS, "reserve")}
    section = data(train=str(sdf), reserve=2.0, molecules=3)
    with pytest.raises(
        UserError, match=r"data.reserve: 2 needs 12 conformations beside the 6 to train on, .* are 6; lower"
    ):
        prepare_data.run(Job(input={}, output=output, params=prepare_data.Params(data=section)))


def test_a_single_molecule_cannot_be_trained_and_validated_on(tmp_path: Path, mol: Make, data: Make) -> None:
    path = write_entries(tmp_path / "two.sdf", mol("CCO"), mol("CCCO"), names=["a", "b"])
    with pytest.raises(UserError, match=r"data\.validation_fraction: 0\.5 of one molecule leaves none to train on"):
        prepared(data(train=str(path), validation_fraction=0.5), tmp_path / "a")


def test_rdkits_own_molecules_have_conformers_made_by_seed() -> None:
    section = rdkit_section(molecules=3, conformers=2, max_atoms=25)
    one, test, left_out = read(section)
    same, _, _ = read(section)
    assert (len({row.smiles for row in one}), len({row.smiles for row in test})) == (3, 2)
    assert {row.smiles for row in one}.isdisjoint(row.smiles for row in test)
    assert all(np.array_equal(a.coordinates, b.coordinates) for a, b in zip(one, same, strict=True))
    assert left_out["of more than 25 atoms"] > 0


def test_of_rdkits_own_molecules_more_conformers_can_be_asked_for_to_test_on_than_to_train_on() -> None:
    train, test, _ = read(rdkit_section(molecules=3, test_conformers=3, max_atoms=25))
    assert list(Counter(row.smiles for row in train).values()) == [1, 1, 1]
    assert list(Counter(row.smiles for row in test).values()) == [3, 3]


@pytest.fixture
def geom(tmp_path: Path, mol: Make) -> Path:
    """A folder in the layout of GEOM's rdkit_folder: four molecules of three conformers."""
    folder = tmp_path / "rdkit_folder"
    (folder / "drugs").mkdir(parents=True)
    contents: dict[str, Any] = {}
    for number, smiles in enumerate(ALCOHOLS[:4]):
        conformers = []
        for place in range(3):
            one = mol(smiles, 1, seed=place + 1)
            conformers.append({"geom_id": place, "boltzmannweight": [0.2, 0.7, 0.1][place], "rd_mol": one})
        name = f"drugs/{number}.pickle"
        content = {"smiles": smiles, "uniqueconfs": 3, "conformers": conformers, "charge": 0}
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
        contents[smiles] = {"pickle_path": name, "uniqueconfs": 3}
    contents["no conformers"] = {"uniqueconfs": 0}
    contents["absent"] = {"pickle_path": "drugs/absent.pickle", "uniqueconfs": 1}
    (folder / "summary_drugs.json").write_text(json.dumps(contents))
    return folder


def geom_section(folder: Path, **keys: Any) -> Data:
    return Data.model_validate({"source": "rdkit_folder", "folder": str(folder), "test_molecules": 1, **keys})


def test_a_folder_in_geoms_layout_is_read_and_the_likeliest_conformers_are_taken(geom: Path, mol: Make) -> None:
    train, test, left_out = read(geom_section(geom, conformers=1))
    assert (len(train), len(test)) == (3, 1)
    assert left_out == {"without conformers in the table of contents": 1, "whose pickle is not there": 1}
    row = train[0]
    likeliest = mol(row.name, 1, seed=2)
    expected = np.sort(
        np.linalg.norm(likeliest.GetConformer().GetPositions() - likeliest.GetConformer().GetPositions()[0], axis=1)
    )
    assert any(
        np.allclose(np.sort(np.linalg.norm(row.coordinates - point, axis=1)), expected, atol=1e-4)
        for point in row.coordinates
    )
    assert len(read(geom_section(geom))[0]) == 9


def test_in_geoms_layout_an_isomer_of_a_molecule_that_was_there_is_left_out(geom: Path, mol: Make) -> None:
    for number, smiles in enumerate(ISOMERS[:4]):
        path = geom / f"drugs/{number}.pickle"
        path.write_bytes(pickle.dumps({"conformers": [{"boltzmannweight": 1.0, "rd_mol": mol(smiles, 1)}]}))
    train, test, left_out = read(geom_section(geom))
    assert len(train) == len(test) == 1
    assert left_out["molecules that were there already"] == 2


@pytest.mark.parametrize(
    ("conformers", "test_conformers", "rows"),
    [(1, 3, (3, 3)), (2, 1, (6, 1)), (2, None, (6, 2)), (None, 2, (9, 2)), (None, None, (9, 3))],
)
def test_in_geoms_layout_each_split_takes_its_own_number_of_conformers(
    conformers: int | None, test_conformers: int | None, rows: tuple[int, int], geom: Path
) -> None:
    train, test, _ = read(geom_section(geom, conformers=conformers, test_conformers=test_conformers))
    assert (len(train), len(test)) == rows


def test_in_geoms_layout_conformers_of_another_molecule_are_left_out(geom: Path, mol: Make) -> None:
    path = geom / "drugs/1.pickle"
    content = pickle.loads(path.read_bytes())
    content["conformers"][2]["rd_mol"] = mol("CCN", 1)
    content["conformers"][0]["rd_mol"] = None
    path.write_bytes(pickle.dumps(content))
    train, test, left_out = read(geom_section(geom))
    assert len(train) + len(test) == 4 * 3 - 2
    assert left_out["conformers that do not match their molecule"] == left_out["without a molecule"] == 1


def test_geoms_table_of_contents_may_begin_with_a_byte_order_mark_and_has_each_molecule_once(geom: Path) -> None:
    summary = geom / "summary_drugs.json"
    content = summary.read_text(encoding="utf-8")
    summary.write_text("\ufeff" + content, encoding="utf-8")
    train, test, _ = read(geom_section(geom))
    assert train and test
    key = next(iter(json.loads(content)))
    summary.write_text(content.replace("{", f"{{{json.dumps(key)}: {{}}, ", 1), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"summary_drugs\.json is not a table of molecules in JSON \(it has '.*' twice\)"
    ):
        read(geom_section(geom))


def test_a_hostile_pickle_in_geoms_layout_stops_the_step_and_does_not_run(geom: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Hostile:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return exec, (f"open({str(mark)!r}, 'w').close()",)

    (geom / "drugs/2.pickle").write_bytes(pickle.dumps({"conformers": [{"rd_mol": Hostile()}]}))
    with pytest.raises(UserError, match=r"2\.pickle: it names builtins\.exec"):
        read(geom_section(geom))
    assert not mark.exists()


def test_a_path_that_leads_out_of_geoms_folder_is_refused(geom: Path) -> None:
    (geom / "summary_drugs.json").write_text(json.dumps({"x": {"pickle_path": "../../etc/x", "uniqueconfs": 1}}))
    with pytest.raises(UserError, match="leads out of the folder"):
        read(geom_section(geom))


def test_a_folder_without_geoms_table_of_contents_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.folder: .*summary_drugs\.json"):
        read(geom_section(tmp_path))


@pytest.fixture
def data_class() -> Iterator[type]:
    """A class that pickles as the `Data` of torch-geometric 1.x."""
    module = types.ModuleType("torch_geometric.data.data")
    data = type("Data", (), {"__module__": "torch_geometric.data.data", "__qualname__": "Data"})
    module.Data = data  # type: ignore[attr-defined]
    stand_ins = {"torch_geometric": types.ModuleType("torch_geometric"), "torch_geometric.data": types.ModuleType("x")}
    before = {name: sys.modules.get(name) for name in (*stand_ins, "torch_geometric.data.data")}
    sys.modules.update({**stand_ins, "torch_geometric.data.data": module})
    yield data
    for name, old in before.items():
        if old is None:
            del sys.modules[name]
        else:
            sys.modules[name] = old


@pytest.mark.parametrize("protocol", [2, 4])
def test_files_in_the_layout_of_geodiffs_splits_are_read(
    tmp_path: Path, mol: Make, data: Make, data_class: type, protocol: int
) -> None:
    def split(name: str, smiles: list[str]) -> str:
        rows = []
        for each in smiles:
            for place in range(2):
                row = data_class()
                one = mol(each, 1, seed=place + 1)
                positions = torch.from_numpy(one.GetConformer().GetPositions()).float()
                row.__dict__.update(x=None, edge_index=torch.zeros(2, 3, dtype=torch.long), pos=positions, norm=None)
                row.__dict__.update(atom_type=torch.ones(3), rdmol=one, smiles=each, totalenergy=torch.tensor([1.0]))
                rows.append(row)
        (tmp_path / name).write_bytes(pickle.dumps(rows, protocol=protocol))
        return str(tmp_path / name)

    section = data(source="geodiff", train=split("train.pkl", ALCOHOLS[:3]), test=split("test.pkl", ALCOHOLS[3:5]))
    train, test, left_out = read(section)
    assert not left_out
    assert (len(train), len(test)) == (6, 4)
    assert (names(train), names(test)) == (set(ALCOHOLS[:3]), set(ALCOHOLS[3:5]))


def test_a_pickle_that_is_no_such_list_is_refused(tmp_path: Path, data: Make) -> None:
    (tmp_path / "train.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match=r"train\.pkl is not a list"):
        read(data(source="geodiff", train=str(tmp_path / "train.pkl"), test=str(tmp_path / "train.pkl")))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": "absent.sdf"}, "data.train: 'absent.sdf' names no file"),
        ({"train": "notes.txt"}, "data.train: 'notes.txt' is not a file that sdf reads; allowed: .sdf, .sdf.gz"),
        ({"train": "a.sdf", "test": "*.sdf"}, "data.test: 'a.sdf' is among data.train, too"),
        ({"train": "a.sdf", "validation": "*.sdf"}, "data.validation: 'a.sdf' is among data.train, too"),
        (
            {"train": "a.sdf", "validation": "c.sdf", "validation_fraction": 0.1},
            "data.validation_fraction: 0.1 is given with data.validation; give one of them",
        ),
        ({"train": "a.sdf", "folder": "geom"}, "data.folder: 'geom' is given with source: sdf (allowed is null)"),
        ({"source": "geodiff", "train": "a.pkl"}, "data.test: null is not allowed with source geodiff"),
    ],
)
def test_what_is_wrong_with_the_files_is_said_before_any_work(
    keys: dict[str, Any], message: str, tmp_path: Path, data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.sdf", "c.sdf", "a.pkl", "notes.txt"):
        (tmp_path / name).touch()
    found = list(sources.problems(data(**keys)))
    assert len(found) == 1
    assert found[0].startswith(message)
