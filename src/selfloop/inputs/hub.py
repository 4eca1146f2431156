"""Data sets of the Hugging Face hub, or local folders that `datasets` opens. Light until a data set is loaded."""

import difflib
import importlib.util
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from selfloop.errors import UserError
from selfloop.inputs.paths import walked

if TYPE_CHECKING:
    import datasets


class HubData(Protocol):
    """What a `data` section says of the hub."""

    @property
    def name(self) -> str | None: ...
    @property
    def configuration(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def train_split(self) -> str: ...
    @property
    def test_split(self) -> str | None: ...


def problems(data: HubData) -> list[str]:
    """What is wrong with a `data` section whose source is the hub."""
    if importlib.util.find_spec("datasets") is None:
        return ["data.source: 'hub' needs the Python package `datasets`, which is not installed"]
    if data.name and "/" not in data.name and Path(data.name).is_dir():
        return [
            f"data.name: {data.name!r} is a folder here, and could be a data set of the hub (allowed: './{data.name}' "
            "for the folder; for that of the hub, 'owner/name', or another name of the folder)"
        ]
    train, test = data.train_split, data.test_split
    if test is not None and _share_rows(train, test):
        return [
            f"data.test_split: {test!r} has rows of data.train_split, {train!r} (allowed: a split of its own, or null, "
            "which holds out data.test_fraction of the train split)"
        ]
    watched = getattr(data, "validation_split", None)
    return [
        f"data.validation_split: {watched!r} has rows of data.{key}, {getattr(data, key)!r} (allowed: a split of its "
        "own, or null)"
        for key in ("train_split", "test_split")
        if watched is not None and getattr(data, key) is not None and _share_rows(getattr(data, key), watched)
    ]


def input_files(data: HubData) -> list[str]:
    """The files of a local folder that `datasets` opens; none of a data set of the hub."""
    folder = Path(data.name or "")
    if not data.name or not folder.is_dir():
        return []
    return sorted(os.path.join(inner, name) for inner, files in walked(folder) for name in files)


def load_split(data: HubData, split_key: str, column_keys: tuple[str, ...]) -> "datasets.Dataset":
    """A split, memory-mapped from its Arrow files.

    Args:
        data: a `data` section.
        split_key: the key that names the split.
        column_keys: keys that name columns which must exist; null ones are skipped.

    Raises:
        UserError: it cannot be loaded, or lacks a column.
    """
    import datasets

    name, split = str(data.name), str(getattr(data, split_key))
    try:
        table = datasets.load_dataset(name, name=data.configuration, split=split, revision=data.revision)
    except Exception as error:  # whatever a reader of one of its many formats raises
        raise UserError(_not_loaded(data, split_key, error)) from error
    for key in column_keys:
        column = getattr(data, key)
        if column is not None and column not in table.column_names:
            raise UserError(missing_column(key, column, f"{name} [{split}]", table.column_names))
        # pandas, which reads CSV, renames the second of two columns.
        if table.info.builder_name == "csv" and f"{column}.1" in table.column_names:
            raise UserError(
                f"data.{key}: {column!r} is there twice in the CSV files of {name} [{split}] (or once with "
                f"{column + '.1'!r}, as pandas renames a second one), and which of them is meant is unknown; rename one"
            )
    return table


def _not_loaded(data: HubData, split_key: str, error: Exception) -> str:
    """The whole message of an error of `load_dataset`, under the key that it is about."""
    import datasets

    name, split = str(data.name), getattr(data, split_key)
    said = _one_line(error)
    if error.__cause__ is not None:  # "An error occurred while generating the dataset"
        said += f" ({_one_line(error.__cause__)})"
    if isinstance(error, RuntimeError) and "script" in said:
        return (
            f"data.name: {name!r} cannot be loaded: {said}. Scripts are not run: name a revision that has data files "
            "(data.revision: refs/convert/parquet is the hub's own conversion), or download them and set source: files"
        )
    configurations: list[str] = []
    with suppress(Exception):
        configurations = datasets.get_dataset_config_names(name, revision=data.revision)
    missing = data.configuration is None and "config name is missing" in said.lower()
    if missing or (data.configuration is not None and configurations and data.configuration not in configurations):
        close = difflib.get_close_matches(data.configuration or "", configurations, n=1)
        choices = f" (allowed: {', '.join(configurations)})" if configurations else f": {said}"
        hint = f"; did you mean {close[0]!r}?" if close else ""
        named = "null" if data.configuration is None else repr(data.configuration)
        return f"data.configuration: {named} is not a configuration of {name!r}{choices}{hint}"
    about_split = any(word in said.lower() for word in ("unknown split", "bad split", "instruction format"))
    about_revision = data.revision is not None and "revision" in said.lower()
    key = f"data.revision: {data.revision!r} of" if about_revision else "data.name:"
    key = f"data.{split_key}: {split!r} of" if about_split else key
    return f"{key} {name!r} cannot be loaded: {said}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def missing_column(key: str, column: str, where: str, columns: list[str]) -> str:
    """The message for a column that does not exist, with the nearest name."""
    close = difflib.get_close_matches(column, columns, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"data.{key}: {column!r} is not a column of {where} (it has: {', '.join(columns) or 'none'}){hint}"


def _share_rows(one: str, other: str) -> bool:
    """Whether two splits certainly have rows in common; two slices of a split are not compared."""
    (name, *piece), (other_name, *other_piece) = one.split("["), other.split("[")
    return name == other_name and (piece == other_piece or not piece or not other_piece)
