"""Safe reading of molecule pickles (GEOM's archive, GeoDiff's splits).

A pickle may call any function of any module. This unpickler has an allowlist of names, each with a harmless stand-in,
and refuses everything else before anything is called. Damaged bytes may still crash the unpickler, or rdkit, both
written in C: a child process reads them.
"""

import faulthandler
import io
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import IO, Concatenate, ParamSpec, TypeVar

from selfloop.errors import UserError
from selfloop.inputs.files import unreadable
from selfloop.processes.lifetime import die_with_parent

P = ParamSpec("P")
T = TypeVar("T")

_ERRORS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class Record:
    """Stand-in for an object whose attributes alone are read, such as torch-geometric 1.x `Data`."""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("an object's state is not a dictionary")
        self.__dict__.update({str(key): value for key, value in state.items()})


class Skipped:
    """Stand-in for a tensor or NumPy scalar, whose value is not read."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _text_to_bytes(text: object, encoding: object = "latin1") -> bytes:
    """Bytes as pickle protocol 2 encodes them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are not written as latin1")
    return text.encode("latin1")


def _molecule(*arguments: object) -> object:
    """An rdkit molecule from rdkit's binary format, which is pure data."""
    from rdkit import Chem

    if len(arguments) != 1 or not isinstance(arguments[0], bytes):
        raise pickle.UnpicklingError("a molecule is not in rdkit's binary format")
    return Chem.Mol(arguments[0])  # type: ignore[call-overload]


KNOWN: dict[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _text_to_bytes,
    ("rdkit.Chem.rdchem", "Mol"): _molecule,
    ("collections", "OrderedDict"): dict,
    ("collections", "defaultdict"): Skipped,
    ("torch_geometric.data.data", "Data"): Record,
    ("torch._utils", "_rebuild_tensor_v2"): Skipped,
    ("torch.storage", "_load_from_bytes"): Skipped,
    ("numpy", "dtype"): Skipped,
    ("numpy", "ndarray"): Skipped,
    ("numpy.core.multiarray", "scalar"): Skipped,
    ("numpy.core.multiarray", "_reconstruct"): Skipped,
    ("numpy._core.multiarray", "scalar"): Skipped,
    ("numpy._core.multiarray", "_reconstruct"): Skipped,
}


class Reader(pickle.Unpickler):
    """An unpickler restricted to the names of `KNOWN`."""

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for a name.

        Raises:
            UserError: the name is not allowed.
        """
        try:
            return KNOWN[module, name]
        except KeyError:
            reason = f"it names {module}.{name}, which is not part of a molecule's data; nothing of it was run"
            raise UserError(reason) from None

    def persistent_load(self, pid: object) -> object:
        """Refuse references to external objects.

        Raises:
            UserError: always.
        """
        raise UserError("it refers to objects outside itself")


def in_child(read: Callable[Concatenate[Path, P], T], path: Path, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `read(path, …)`, a function of a module, in a child process that may crash.

    Raises:
        UserError: whatever `read` raises; or the child crashed, or ran out of memory.
    """
    try:
        return _child().submit(read, path, *args, **kwargs).result()
    except BrokenProcessPool:
        _child.cache_clear()
        raise UserError(f"{path}: it is damaged: the process that read it crashed (or was killed).") from None
    except UserError:
        raise
    except Exception as error:  # of rdkit, about a molecule that contradicts itself
        reason = " ".join(str(error).split()) or "no more is known"
        raise UserError(f"{path}: it is damaged ({type(error).__name__}: {reason}).") from error


@cache
def _child() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    die_with_parent(parent)
    faulthandler.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent handles them
        signal.signal(number, signal.SIG_IGN)


def read_pickle(source: Path | bytes | IO[bytes]) -> object:
    """The lists, dicts, numbers, strings and rdkit molecules of a pickle; other allowed objects as `Record`.

    Raises:
        UserError: it is damaged, or names what is not allowed; the message begins with the file's path, if any.
    """
    if isinstance(source, Path):
        problem = unreadable(source)
        if problem:
            raise UserError(problem)
        try:
            with source.open("rb") as file:
                return read_pickle(file)
        except OSError as error:
            raise UserError(f"{source}: cannot be read ({error.strerror})") from None
        except UserError as error:
            raise UserError(f"{source}: {error}.") from None
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        return Reader(stream).load()
    except UserError:
        raise
    except (*_ERRORS, MemoryError, RecursionError, RuntimeError, UnicodeDecodeError) as error:
        raise UserError(f"it is not a whole pickle ({type(error).__name__}: {error})") from None
