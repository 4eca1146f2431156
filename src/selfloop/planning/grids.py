"""Grids of regimes: a table whose numbers are variables stands for a regime at each point of a grid.

A grid `mix` over a and b becomes the regimes `mix-a0.1-b0`, `mix-a0.1-b1` and so on, and an experiment that names `mix`
has them all.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeGuard

from selfloop.config import models
from selfloop.config.load import validated
from selfloop.errors import UserError

NUMBERS = ("amount", "last", "by_age", "weight")  # keys of a part that hold numbers


@dataclass(frozen=True)
class Grid:
    """One grid.

    Attributes:
        points: the values of its variables, by the name of the regime at that point, in the order of the lists.
    """

    points: Mapping[str, Mapping[str, float]]


def expanded(config: Mapping[str, object], most: int) -> tuple[dict[str, object], dict[str, Grid]]:
    """The config with a table for each point of every grid, and the grids by name.

    Args:
        config: as the user wrote it.
        most: regimes that a study can have.

    Raises:
        UserError: a grid is not one, has too many points, or a variable that no part uses.
    """
    tables = config.get("regimes")
    if not isinstance(tables, Mapping):
        return dict(config), {}
    grids: dict[str, Grid] = {}
    found: dict[str, object] = {}
    for name, table in tables.items():
        if not (isinstance(table, Mapping) and table.get("grid") is not None):
            found[name] = table
            continue
        points = _points(name, validated(models.RegimeGrid, {"grid": table["grid"]}, ("regimes", name)).grid, most)
        used: set[str] = set()
        for member, values in points.items():
            if member in tables or member in found:
                raise UserError(f"regimes.{name}.grid: '{member}', one of its regimes, is another one's name.")
            found[member] = _at(table, values, used)
        for variable in points[next(iter(points))].keys() - used:
            raise UserError(f"regimes.{name}.grid.{variable}: no part uses it; write {variable} in place of a number.")
        grids[name] = Grid(points)
    twins = {name: f"{name}-random" for name, table in found.items() if _has_twin(table)}
    for name, twin in twins.items():
        if twin in found:
            raise UserError(f"regimes.{name}.control: '{twin}', its twin's name, is another regime's.")
    with_twins = {}
    for name, table in found.items():
        with_twins[name] = table
        if _has_twin(table):
            with_twins[twins[name]] = _twin(table)
    members = {name: [*grid.points] for name, grid in grids.items()}
    return {**config, "regimes": with_twins, **_experiments(config, members, twins)}, grids


def _has_twin(table: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(table, Mapping) and table.get("control") == "random" and isinstance(table.get("parts"), list)


def _twin(table: Mapping[str, object]) -> dict[str, object]:
    """A regime that chooses as many rows of the same candidates at random."""
    held = table["parts"]
    parts = [
        {**part, "random": True} if isinstance(part, Mapping) and part.get("filter") is not None else part
        for part in (held if isinstance(held, list) else [])
    ]
    return {**{key: value for key, value in table.items() if key != "control"}, "parts": parts}


def _points(name: str, grid: Mapping[str, list[float]], most: int) -> dict[str, dict[str, float]]:
    count = math.prod(map(len, grid.values()))
    if count > most:
        raise UserError(
            f"regimes.{name}.grid: {count:,} points are more regimes than a study can have; at most {most:,}."
        )
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    named = {"-".join([name, *(f"{key}{value:g}" for key, value in point.items())]): point for point in points}
    if len(named) < count:
        raise UserError(
            f"regimes.{name}.grid: names of regimes have 6 digits of a number, by which two points are alike."
        )
    return named


def _at(table: Mapping[str, object], values: Mapping[str, float], used: set[str]) -> dict[str, object]:
    """A table at one point; variables that it holds are added to `used`."""

    def number(held: object) -> object:
        if isinstance(held, list):
            return [number(entry) for entry in held]
        if not isinstance(held, str) or held not in values:
            return held
        used.add(held)
        value = values[held]
        return int(value) if value.is_integer() else value

    def part(held: object) -> object:
        if not isinstance(held, Mapping):
            return held
        return {key: number(value) if key in NUMBERS else value for key, value in held.items()}

    found = {key: value for key, value in table.items() if key != "grid"}
    if isinstance(parts := found.get("parts"), list):
        found["parts"] = [part(entry) for entry in parts]
    return {key: number(value) if key == "budget" else value for key, value in found.items()}


def _experiments(
    config: Mapping[str, object], members: Mapping[str, list[str]], twins: Mapping[str, str]
) -> dict[str, object]:
    """The experiments, with the regimes of a grid in place of its name, and with the twins of their regimes."""
    entries = config.get("experiments")
    if not ((members or twins) and isinstance(entries, Mapping)):
        return {}

    def named(name: object) -> Iterator[object]:
        for member in members.get(name, [name]) if isinstance(name, str) else [name]:
            yield member
            if isinstance(member, str) and member in twins:
                yield twins[member]

    def experiment(entry: object) -> object:
        if not isinstance(entry, Mapping):
            return entry
        found = dict(entry)
        if isinstance(found.get("regimes"), list):
            found["regimes"] = list(dict.fromkeys(one for name in found["regimes"] for one in named(name)))
        if isinstance(found.get("iterations"), Mapping):
            counts = found["iterations"].items()
            found["iterations"] = {one: count for name, count in counts for one in named(name)}
        return found

    return {"experiments": {name: experiment(entry) for name, entry in entries.items()}}
