"""Pickles that a user downloaded are read, not run."""

import builtins
import os
import pickle
import signal
import subprocess
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem

from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import readers
from selfloop.domains.molecule.data.pickles import KNOWN, in_child, read_pickle
from selfloop.errors import UserError


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def by_hand(*lines: bytes) -> bytes:
    """A pickle of protocol 0, instruction by instruction."""
    return b"".join(lines)


def hostile(mark: Path) -> dict[str, bytes]:
    """Pickles that would make the file `mark` when loaded with `pickle.load`."""
    command = f"touch {mark}"
    python = f"open({str(mark)!r}, 'w').close()"
    name = str(mark).encode()
    return {
        "os.system": pickle.dumps(Call(os.system, command)),
        "subprocess": pickle.dumps(Call(subprocess.call, ["touch", str(mark)])),
        "eval": pickle.dumps(Call(builtins.eval, python)),
        "exec": pickle.dumps(Call(builtins.exec, python)),
        "open": pickle.dumps(Call(builtins.open, str(mark), "w")),
        "inside a molecule's data": pickle.dumps({"conformers": [{"rd_mol": Call(os.system, command)}]}, protocol=2),
        "getattr chain": pickle.dumps(Call(getattr, Call(__import__, "os"), "system")),
        # Protocol 4 finds attributes of attributes.
        "dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0dopen.__call__\x93"
        + pickle.dumps((str(mark), "w"))[2:-1]
        + b"R.",
        "the old instruction INST": by_hand(b"(S'", command.encode(), b"'\nios\nsystem\n."),
        "the old instruction OBJ": by_hand(b"(cos\nsystem\nS'", command.encode(), b"'\no."),
        "a copied state's setter": by_hand(b"ccopyreg\n_reconstructor\n(cos\nsystem\ncbuiltins\nobject\nNtR."),
        "numpy's loader": by_hand(b"cnumpy\nload\n(S'", name, b"'\ntR."),
        "torch's loader, unmasked": by_hand(b"ctorch\nload\n(S'", name, b"'\ntR."),
        "an allowed module's other name": by_hand(b"c_codecs\ndecode\n(S'", name, b"'\ntR."),
    }


@pytest.mark.parametrize("kind", sorted(hostile(Path("mark"))))
def test_a_hostile_pickle_is_refused_and_does_not_run(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "hostile.pickle"
    path.write_bytes(hostile(mark)[kind])
    with pytest.raises(UserError, match=r"hostile\.pickle: it names .*nothing of it was run"):
        read_pickle(path)
    assert not mark.exists()


def test_the_hostile_pickles_are_hostile(tmp_path: Path) -> None:
    """They do run where `pickle.load` loads them; else the test above would prove nothing."""
    for kind in (
        "os.system",
        "subprocess",
        "eval",
        "exec",
        "open",
        "the old instruction INST",
        "the old instruction OBJ",
    ):
        mark = tmp_path / kind
        pickle.loads(hostile(Path(str(mark).replace(" ", "-")))[kind])
        assert Path(str(mark).replace(" ", "-")).exists(), kind


def test_what_stands_in_for_a_known_name_calls_nothing_it_is_given(tmp_path: Path) -> None:
    """A tensor's bytes are a pickle within the pickle; they are not even opened."""
    mark = tmp_path / "mark"
    inner = hostile(mark)["os.system"]
    outer = b"\x80\x04ctorch.storage\n_load_from_bytes\n" + pickle.dumps((inner,), protocol=4)[2:-1] + b"R."
    read_pickle(outer)
    assert not mark.exists()
    assert not any(value in (eval, exec, getattr, __import__) for value in KNOWN.values())


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", b"\x80\x04\x95", pickle.dumps([1, 2])[:-2], b"\x80\x04]\x82\x05."]
)
def test_a_damaged_pickle_is_one_clear_message(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pickle"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged\.pickle: it is not a whole pickle"):
        read_pickle(path)


def crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def length(path: Path) -> int:
    return len(path.read_bytes())


def test_a_pickle_whose_reading_crashes_is_one_clear_message_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pickle"
    path.write_bytes(b"four")
    for _ in range(2):
        with pytest.raises(UserError, match=r"damaged\.pickle: it is damaged: the process that read it crashed"):
            in_child(crash, path)
        assert in_child(length, path) == 4


def test_no_flipped_bits_end_the_process(
    tmp_path: Path, mol: Callable[..., Chem.Mol], data: Callable[..., Data]
) -> None:
    """Of flips in such pickles, one in a hundred crashed the process that read them."""
    content = {"conformers": [{"rd_mol": mol("CC(C)CC(=O)OCCc1ccncc1", 1), "boltzmannweight": 0.5} for _ in range(3)]}
    whole = pickle.dumps(content)
    draw = np.random.default_rng(1)
    path = tmp_path / "flipped.pickle"
    outcomes = Counter[str]()
    for _ in range(250):
        damaged = bytearray(whole)
        for place in draw.integers(len(whole), size=4):
            damaged[place] ^= 1 << draw.integers(8)
        path.write_bytes(damaged)
        try:
            in_child(readers._geom_conformers, path, "x", data())
            outcomes["read"] += 1
        except UserError as error:
            assert str(error).startswith(str(path))
            outcomes["crashed" if "crashed" in str(error) else "refused"] += 1
    assert outcomes["refused"] > 20


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"):
        read_pickle(tmp_path / "absent")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_molecules_come_through_whole(protocol: int, mol: Callable[..., Chem.Mol]) -> None:
    original = mol("C[C@H](N)C(=O)O")
    content = {"smiles": "x", "conformers": [OrderedDict(rd_mol=original, boltzmannweight=0.5)]}
    read = read_pickle(pickle.dumps(content, protocol=protocol))
    copy = read["conformers"][0]["rd_mol"]
    assert Chem.MolToSmiles(copy) == Chem.MolToSmiles(original)
    positions = [each.GetConformer(1).GetPositions() for each in (copy, original)]
    assert np.allclose(*positions, atol=1e-6)  # rdkit writes coordinates as float32


def test_a_molecule_whose_bytes_are_no_molecule_is_one_clear_message() -> None:
    content = b"\x80\x04crdkit.Chem.rdchem\nMol\n" + pickle.dumps((b"nonsense",), protocol=4)[2:-1] + b"R."
    with pytest.raises(UserError, match="not a whole pickle"):
        read_pickle(content)
