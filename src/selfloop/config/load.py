"""Read a config file and check each of its sections, and say what is wrong in one message.

The message names the key, what it held, and what is allowed. What sections have to do with each other is checked in
`selfloop.planning.check`.
"""

import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from selfloop.config.messages import dotted, first_problem, shown
from selfloop.config.section import Section
from selfloop.errors import UserError

S = TypeVar("S", bound=Section)


# Far more than a config holds; what is beyond would take minutes or end in a RecursionError.
LARGEST = 2**21  # bytes
DEEPEST = 40  # lists and mappings in one another
MOST = 200_000  # values, those of an alias (*) counted wherever it stands
LONGEST, LONGEST_KEY = 10_000, 200  # characters of a string, and of a key
# By the first of these keys, Snakemake takes a config for a template and runs the Python code in the others.
CODE_KEYS = ("__use_yte__", "__definitions__", "__variables__")


class _PurePython(Reader, Scanner, Parser):
    """The events of a YAML text, as `CParser` gives them."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


# libyaml takes a fifth of the time, but not every PyYAML has it.
_Events: Any = yaml.cyaml.CParser if yaml.__with_libyaml__ else _PurePython  # type: ignore[attr-defined]


class _Loader(Composer, _Events, SafeConstructor, Resolver):  # type: ignore[misc]
    """PyYAML's, which of two entries of one key takes the last without a word, and has no limits; this one refuses."""

    def __init__(self, text: str) -> None:
        _Events.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # by the node's id, with all that is in it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1
        self._depth += 1
        if self._depth > DEEPEST:
            raise UserError(f"line {line}: lists and mappings are nested more than {DEEPEST} deep.")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.CollectionNode) and id(node) not in self._sizes:
            self._sizes[id(node)] = 1 + sum(self._sizes.get(id(inner), 1) for inner in _inside(node))
            if self._sizes[id(node)] > MOST:
                raise UserError(f"line {line}: more than {MOST:,} values, those of aliases (*) counted each time.")
        return node

    def compose_mapping_node(self, anchor: dict[object, yaml.Node]) -> yaml.MappingNode:
        # As it is written: later, merged keys (<<) stand beside the keys that override them.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise UserError(f"line {line}: duplicate key '{key.value}' (first on line {lines[key.value]}).")
            lines[key.value] = line
        return node


def _inside(node: yaml.CollectionNode) -> Iterator[yaml.Node]:
    for entry in node.value:
        yield from entry if isinstance(entry, tuple) else [entry]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection, which takes a third of the time that making many objects takes, and frees none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@uncollected()
def read(path: Path) -> dict[str, object]:
    """What a config file holds, to be checked. No code in it is run.

    Raises:
        UserError: it cannot be read, is neither YAML nor JSON, holds a key twice, code, more than a config can, or no
            keys.
    """
    try:
        held = _held(_text(path))
    except (OSError, ValueError, yaml.YAMLError, UserError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(held, dict):
        raise UserError(f"{path}: it holds no keys.")
    _check_for_code(path, held)
    return held


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise UserError("it is not a file.")
    if path.exists() and (size := path.stat().st_size) > LARGEST:
        raise UserError(f"it has {size:,} bytes, and a config at most {LARGEST:,}.")
    held = path.read_bytes()
    try:
        return held.decode()
    except UnicodeDecodeError as error:
        line = held.count(b"\n", 0, error.start) + 1
        raise UserError(f"line {line}: byte {held[error.start]:#04x} is not UTF-8; save the file as UTF-8.") from None


def _held(text: str) -> object:
    """Like Snakemake, first as JSON, in which 5e-4 is a number."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return yaml.load(text, _Loader)
    try:
        yaml.compose(text, _Loader)  # for its limits
    except yaml.YAMLError:  # tabs
        yaml.compose(json.dumps(held, ensure_ascii=False), _Loader)
    return held


def _check_for_code(path: Path, held: object) -> None:
    """Raise for what makes Snakemake run the code of a config, at any place."""
    pending, seen = [held], set[int]()  # what an alias (*) stands for may hold the alias itself
    while pending:
        value = pending.pop()
        if not isinstance(value, Mapping | list) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, list):
            pending += value
            continue
        for key in value:
            if key in CODE_KEYS or (isinstance(key, str) and key.startswith("?")):
                raise UserError(
                    f"{path}: the key {shown(key)} makes Snakemake run Python code from this file; a study needs none, "
                    "leave it out."
                )
        pending += value.values()


def check_keys(path: Path) -> None:
    """Raise `UserError` for what is wrong with a file that Snakemake has read and keeps to itself: a key that it holds
    twice in one place, or more than a config can hold."""
    try:
        yaml.compose(_text(path), _Loader)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except yaml.YAMLError:
        return  # JSON with tabs, which Snakemake knows


def read_scalars(config: dict[str, object], given: Mapping[str, object]) -> None:
    """Read the numbers, booleans and nulls in what `--config` has given, which Snakemake leaves as strings.

    Args:
        config: the config, which is changed.
        given: of it, what the command line gives.
    """
    for key, value in given.items():
        config[key] = _with_scalars(config.get(key), value)


def _with_scalars(value: object, given: object) -> object:
    if isinstance(value, Mapping) and isinstance(given, Mapping):
        return {key: _with_scalars(inner, given[key]) if key in given else inner for key, inner in value.items()}
    if isinstance(value, list) and value == given:
        return [_with_scalars(inner, inner) for inner in value]
    if isinstance(value, str) and value and value == given:
        try:
            read_as = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            return value
        return read_as if read_as is None or isinstance(read_as, bool | int | float) else value
    return value


def check_plain(value: object) -> None:
    """Raise for what YAML can hold and a config cannot: keys that are not strings, numbers that are not finite or too
    large, strings that are too long, what holds itself, and more or deeper than a config is."""
    if _checked(value, (), (), {}) > MOST:
        raise UserError(f"the config: more than {MOST:,} values, those of aliases (*) counted each time.")


def _checked(value: object, path: tuple[str | int, ...], around: tuple[int, ...], sizes: dict[int, int]) -> int:
    """The number of values in `value`; `around` has the ids of what it stands in, `sizes` the numbers by id."""
    if id(value) in around:
        raise UserError(f"{dotted(path)}: it is an alias (*) of what it stands in; write out what is meant.")
    if id(value) in sizes:
        return sizes[id(value)]
    if isinstance(value, Mapping | list):
        if len(around) > DEEPEST:
            raise UserError(f"{dotted(path[:3])}: lists and mappings are nested more than {DEEPEST} deep.")
        for key in value if isinstance(value, Mapping) else ():
            _check_key(key, path)
        entries: Iterable[tuple[str | int, object]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        around = (*around, id(value))
        sizes[id(value)] = 1 + sum(_checked(entry, (*path, key), around, sizes) for key, entry in entries)
        return sizes[id(value)]
    if isinstance(value, str):
        _check_string(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{dotted(path)}: {shown(value)} is not a finite number.")
    elif isinstance(value, int) and abs(value) > 10**19:
        raise UserError(f"{dotted(path)}: it is beyond what a number can be here, 10¹⁹.")
    return 1


def _check_key(key: object, path: tuple[str | int, ...]) -> None:
    where = dotted(path) or "the config"
    if not isinstance(key, str):
        raise UserError(f"{where}: the key {shown(key)} is not a string; put it in quotes.")
    if len(key) > LONGEST_KEY:
        raise UserError(f"{where}: the key {shown(key)} has {len(key):,} characters; at most {LONGEST_KEY}.")
    _check_string(key, path)


def _check_string(value: str, path: tuple[str | int, ...]) -> None:
    if len(value) > LONGEST:
        raise UserError(f"{dotted(path)}: {shown(value)} has {len(value):,} characters; at most {LONGEST:,}.")
    if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise UserError(f"{dotted(path) or 'the config'}: {value[:60]!r} holds a character that is not one of a text.")


def validated(section: type[S], value: object, where: tuple[str | int, ...] = ()) -> S:
    """A section that stands at `where` in the config, with its defaults.

    Raises:
        UserError: the first thing that is wrong.
    """
    try:
        return section.model_validate(_with_integers(value))
    except ValidationError as error:
        raise UserError(first_problem(error, section, value, where)) from None


def _with_integers(value: object) -> object:
    """A JSON value with 5 for 5.0: an integer is one however it is written, and a number may be an integer."""
    if isinstance(value, Mapping):
        return {key: _with_integers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_integers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 10**19 else value
