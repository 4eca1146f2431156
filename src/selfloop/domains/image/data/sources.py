"""Which images a `data` section names: what is wrong with it, and its train and test collections.

`problems` and `input_files` are for the time the Snakefile is parsed: they look at no image. `splits` is for the time
the data are prepared.
"""

import importlib.util
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfloop.domains.image.data import collection
from selfloop.domains.image.data.collection import Collection
from selfloop.errors import UserError
from selfloop.identity import stream

Log = Callable[[str], None]
# The keys that each source reads, of those that not all of them do.
OF_SOURCE = {
    "packaged": ("name",),
    "files": ("train", "test", "person"),
    "celeba": ("path",),
    "hub": ("name", "configuration", "revision", "image_column", "person"),
}
NULLABLE = ("name", "train", "test", "path", "person", "configuration", "revision")


def problems(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with a `data` section, one sentence each: the key, what it holds, what is allowed."""
    source = data["source"]
    found = [
        f"data.{key}: {data[key]!r} is given with source: {source} (allowed is null)"
        for key in NULLABLE
        if data.get(key) is not None and key not in OF_SOURCE[source]
    ]
    if data["crop"] is not None and data["crop"] < data["size"]:
        found.append(f"data.crop: {data['crop']} pixels would be enlarged to data.size, {data['size']}; crop no less")
    check = {"packaged": _packaged_problems, "files": _file_problems, "celeba": _celeba_problems, "hub": _hub_problems}
    return found or check[source](data)


def input_files(data: Mapping[str, Any]) -> list[str]:
    """What a rule takes as input: zips and lists, and folders, which change when files come or go.

    An image that is overwritten in its place is not seen.
    """
    if data["source"] == "files":
        named = [path for key in ("train", "test") for path in _paths(data.get(key))]
    elif data["source"] == "celeba":
        folder = Path(data["path"]).expanduser()
        names = (*collection.PARTITION_FILES, collection.IDENTITY_FILE, *collection.CELEBA_IMAGES)
        named = [folder / name for name in names if (folder / name).exists()]
    else:
        return []
    return [str(inner) for path in named for inner in ([path] if path.is_file() else _folders(path))]


def splits(data: Mapping[str, Any], log: Log) -> tuple[Collection, Collection]:
    """The train and the test images, the same for the same data and seed.

    Raises:
        UserError: a source cannot be read or is empty, more rows are asked for than there are, or a test person is also
            in train.
    """
    found = problems(data)
    if found:
        raise UserError("\n".join(found))
    train, test = _collections(data)
    for name, split in (("train", train), ("test", test)):
        if split is not None and split.others:
            left = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(split.others.items()))
            log(f"{name}: files without the suffix of an image are left out: {left}")
    if test is None:
        train, test = _held_out(train, float(data["test_fraction"]), int(data["seed"]), log)
    else:
        _refuse_shared_persons(train, test)
    return _drawn(train, data, "rows"), _drawn(test, data, "test_rows")


def _collections(data: Mapping[str, Any]) -> tuple[Collection, Collection | None]:
    if data["source"] == "packaged":
        return collection.packaged(data["name"]), None
    if data["source"] == "celeba":
        folder = Path(data["path"]).expanduser()
        return collection.celeba(folder, data["train_split"]), collection.celeba(folder, data["test_split"])
    if data["source"] == "hub":
        train, test_split = collection.hub(data, data["train_split"]), data["test_split"]
        return train, None if test_split is None else collection.hub(data, test_split)
    split = {
        key: [collection.of_path(path, key, data["person"]) for path in _paths(data.get(key))]
        for key in ("train", "test")
    }
    return collection.joined(split["train"]), collection.joined(split["test"]) if split["test"] else None


def _held_out(images: Collection, fraction: float, seed: int, log: Log) -> tuple[Collection, Collection]:
    """Persons (or, where they are not known, images) drawn by seed for the test split."""
    import numpy as np

    groups = np.arange(len(images))
    what = "images"
    if images.persons is not None:
        groups, what = np.unique(np.array(images.persons), return_inverse=True)[1], "persons"
    count = int(groups.max()) + 1
    if count < 2:
        raise UserError(f"{images.where} has {count} of the {what} that a test split is drawn from; at least 2 needed")
    wanted = min(count - 1, max(1, round(fraction * count)))
    drawn = np.random.default_rng(stream(str(seed), "test split")).choice(count, size=wanted, replace=False)
    tested = np.isin(groups, drawn)
    log(f"no test split is given: {wanted} of {count} {what} ({tested.sum()} of {len(images)} images) are drawn for it")
    return images.chosen(np.flatnonzero(~tested).tolist()), images.chosen(np.flatnonzero(tested).tolist())


def _refuse_shared_persons(train: Collection, test: Collection) -> None:
    if train.persons is None or test.persons is None:
        return
    shared = sorted(set(train.persons) & set(test.persons))
    if shared:
        names = ", ".join(shared[:5]) + (" and more" if len(shared) > 5 else "")
        raise UserError(
            f"{len(shared)} persons of the test images ({test.where}) are in the train images ({train.where}) too: "
            f"{names}. A model would be tested on whom it has seen; give test images of other persons, or none."
        )


def _drawn(images: Collection, data: Mapping[str, Any], key: str) -> Collection:
    import numpy as np

    wanted = data[key]
    if wanted is None:
        return images
    if wanted > len(images):
        raise UserError(f"data.{key}: {wanted} is more than there are (allowed are 1 to {len(images)})")
    generator = np.random.default_rng(stream(str(data["seed"]), key))
    return images.chosen(np.sort(generator.choice(len(images), size=wanted, replace=False)).tolist())


def _paths(value: str | list[str] | None) -> list[Path]:
    return [Path(path).expanduser() for path in ([value] if isinstance(value, str) else value or [])]


def _folders(path: Path) -> list[Path]:
    return [Path(folder) for folder, _ in collection.walked(path)]


def _packaged_problems(data: Mapping[str, Any]) -> list[str]:
    name = data.get("name")
    if name not in collection.PACKAGED:
        return [f"data.name: {name!r} are no packaged images (allowed: {', '.join(collection.PACKAGED)})"]
    if collection.packaged_folder(name) is None:
        package = collection.PACKAGED[name][0]
        return [f"data.name: '{name}' needs the Python package `{package}`, which is not installed"]
    return []


def _file_problems(data: Mapping[str, Any]) -> list[str]:
    found = []
    for key in ("train", "test"):
        for path in _paths(data.get(key)):
            if not path.exists():
                found.append(f"data.{key}: '{path}' is not there (searched from {os.getcwd()})")
            elif path.is_file() and not zipfile.is_zipfile(path):
                found.append(f"data.{key}: '{path}' is no zip (allowed are folders and zips of images)")
    for path in _paths(data.get("test")):
        for other in _paths(data.get("train")):
            ours, theirs = path.resolve(), other.resolve()
            if ours.is_relative_to(theirs):
                found.append(f"data.test: '{path}' is in data.train too (allowed are images of its own, or null)")
            elif theirs.is_relative_to(ours):
                found.append(
                    f"data.test: '{path}' holds '{other}' of data.train (allowed are images of its own, or null)"
                )
    person = data["person"]
    if person is not None and person != collection.FOLDER:
        try:
            groups = re.compile(person).groups
        except re.error as error:
            return [*found, f"data.person: {person!r} is no regular expression ({error})"]
        if groups != 1:
            found.append(f"data.person: {person!r} has {groups} groups (allowed is one, which holds the person)")
    return found


def _celeba_problems(data: Mapping[str, Any]) -> list[str]:
    found = []
    for key in ("train_split", "test_split"):
        if data[key] not in collection.PARTITIONS:
            found.append(f"data.{key}: {data[key]!r} is no split of CelebA ({', '.join(collection.PARTITIONS)})")
    if data["train_split"] == data["test_split"]:
        found.append(f"data.test_split: '{data['test_split']}' is data.train_split too")
    folder = Path(data["path"]).expanduser()
    if not folder.is_dir():
        return [*found, f"data.path: '{folder}' is no folder (searched from {os.getcwd()})"]
    for names in (collection.PARTITION_FILES, collection.CELEBA_IMAGES):
        if not any((folder / name).exists() for name in names):
            found.append(f"data.path: '{folder}' holds no {' or '.join(names)}, which CelebA has")
    return found


def _hub_problems(data: Mapping[str, Any]) -> list[str]:
    if importlib.util.find_spec("datasets") is None:
        return ["data.source: 'hub' needs the Python package `datasets`, which is not installed"]
    train, test = data["train_split"], data["test_split"]
    if test is not None and _share_rows(train, test):
        return [
            f"data.test_split: {test!r} has rows of data.train_split, {train!r} (allowed are a split of its own, or "
            "null, which draws data.test_fraction of the train split)"
        ]
    return []


def _share_rows(one: str, other: str) -> bool:
    """Whether two splits of the hub are sure to have rows in common; two slices of a split are not compared."""
    (name, *piece), (other_name, *other_piece) = one.split("["), other.split("[")
    return name == other_name and (piece == other_piece or not piece or not other_piece)
