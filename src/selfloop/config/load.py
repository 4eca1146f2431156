"""Read a config file and check each of its sections, and say what is wrong in one message.

The message names the key, what it held, and what is allowed. What sections have to do with each other is checked in
`selfloop.planning.check`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from selfloop.config.messages import dotted, first_problem, shown
from selfloop.config.section import Section
from selfloop.errors import UserError

S = TypeVar("S", bound=Section)


class _Loader(yaml.SafeLoader):
    """PyYAML's, which of two entries of one key takes the last without a word; this one refuses them."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
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


def read(path: Path) -> dict[str, Any]:
    """What a config file holds, to be checked.

    Raises:
        UserError: it cannot be read, is not YAML, holds a key twice, or no keys.
    """
    try:
        held = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError, UserError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(held, dict):
        raise UserError(f"{path}: it holds no keys.")
    return held


def check_keys(path: Path) -> None:
    """Raise `UserError` for a key that a file, which Snakemake has read, holds twice in one place."""
    try:
        yaml.compose(path.read_text(encoding="utf-8"), _Loader)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except yaml.YAMLError:
        return  # JSON with tabs, which Snakemake knows


def check_plain(value: object, path: tuple[str | int, ...] = (), around: tuple[int, ...] = ()) -> None:
    """Raise for what YAML can hold and a config cannot: keys that are no strings, numbers that are not finite, and what
    holds itself; `around` has the ids of what `value` stands in."""
    if id(value) in around:
        raise UserError(f"{dotted(path)}: it is an alias (*) of what it stands in; write out what is meant.")
    around = (*around, id(value))
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise UserError(
                    f"{dotted(path) or 'the config'}: the key {shown(key)} is not a string; put it in quotes."
                )
            check_plain(entry, (*path, key), around)
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            check_plain(entry, (*path, place), around)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{dotted(path)}: {shown(value)} is not a finite number.")


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
    return int(value) if isinstance(value, float) and value.is_integer() else value
