"""Sources of real images: validation of a `data` section, and its train and test splits.

`problems` and `input_files` run while the Snakefile is parsed and open no image; `splits` runs in prepare_data.
"""

import os
import re
import zipfile
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

from selfloop.config.section import given
from selfloop.data import reserve, validation
from selfloop.domains.image.config import VALIDATION_KEYS, Data
from selfloop.domains.image.data import readers
from selfloop.domains.image.data.readers import ImageFiles
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.inputs import hub
from selfloop.inputs.files import unreadable
from selfloop.inputs.paths import real

Log = Callable[[str], None]
SPLIT_KEYS = ("train_split", "test_split", "validation_split")
SPLITS = ("train", "test", "validation")
# Keys that only some sources read, by source.
OF_SOURCE = {
    "packaged": ("name",),
    "files": ("train", "test", "validation", "person"),
    "celeba": ("path", "validation_split"),
    "hub": ("name", "configuration", "revision", "image_column", "person", "validation_split"),
}
NULLABLE = ("name", "train", "test", *VALIDATION_KEYS, "path", "person", "configuration", "revision")


def problems(data: Data) -> list[str]:
    """What is wrong with a `data` section; a sentence each: the key, its value, what is allowed."""
    source = data.source
    messages = [
        f"data.{key}: {getattr(data, key)!r} is given with source: {source} (allowed is null)"
        for key in NULLABLE
        if getattr(data, key) is not None and key not in OF_SOURCE[source]
    ]
    if data.crop is not None and data.crop < data.size:
        messages.append(f"data.crop: {data.crop} is less than data.size, {data.size} (allowed: at least that)")
    messages += validation.problems(data, VALIDATION_KEYS)
    if messages:
        return messages
    if source == "hub":
        return hub.problems(data)
    return {"packaged": _packaged_problems, "files": _file_problems, "celeba": _celeba_problems}[source](data)


def input_files(data: Data) -> list[str]:
    """The user's files that are read: zips, lists, and the images of folders."""
    if data.source == "hub":
        return hub.input_files(data)
    if data.source == "files":
        named = [path for key in SPLITS for path in _paths(getattr(data, key))]
    elif data.source == "celeba":
        folder = Path(given(data.path)).expanduser()
        names = (*readers.PARTITION_FILES, readers.IDENTITY_FILE, *readers.CELEBA_IMAGES)
        named = [folder / name for name in names if (folder / name).exists()]
    else:
        return []
    return [str(inner) for path in named for inner in ([path] if path.is_file() else readers.images_of(path))]


def splits(data: Data, log: Log) -> tuple[ImageFiles, ImageFiles, ImageFiles | None, ImageFiles | None]:
    """The train, test and validation images and the reserve, a function of the data and `data.seed`.

    The last two are None if `data` asks for none.

    Raises:
        UserError: a source cannot be read or is empty, has fewer rows than requested, or has a person in two splits.
    """
    messages = problems(data)
    if messages:
        raise UserError("\n".join(messages))
    train, test, watched = _collections(data, log)
    for name, split in (("train", train), ("test", test), ("validation", watched)):
        if split is not None and split.others:
            left = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(split.others.items()))
            log(f"{name}: skipped files without an image suffix: {left}")
    if test is None:
        train, test = _held_out(train, data.test_fraction, int(data.seed), "test", log)
    else:
        _refuse_shared_persons(("train", train), ("test", test))
    if watched is not None:
        _refuse_shared_persons(("train", train), ("validation", watched))
        _refuse_shared_persons(("test", test), ("validation", watched))
    pool, reserved = train, None
    train = _drawn(train, data, "rows")
    if data.validation_fraction is not None:
        train, watched = _held_out(train, data.validation_fraction, int(data.seed), "validation", log)
    if data.reserve and data.rows is None:
        train, reserved = _parted(train, data)
    elif data.reserve:
        reserved = _rest(pool, train, watched, data)
    return train, _drawn(test, data, "test_rows"), watched and _drawn(watched, data, "validation_rows"), reserved


def _collections(data: Data, log: Log) -> tuple[ImageFiles, ImageFiles | None, ImageFiles | None]:
    if data.source == "packaged":
        return readers.packaged(given(data.name)), None, None
    if data.source == "celeba":
        folder, watched = Path(given(data.path)).expanduser(), data.validation_split
        train, test = (readers.celeba(folder, given(split)) for split in (data.train_split, data.test_split))
        return train, test, None if watched is None else readers.celeba(folder, watched)
    if data.source == "hub":
        named = [None if getattr(data, key) is None else readers.hub_images(data, key) for key in SPLIT_KEYS]
    else:
        named = [_of_files(data, key, log) if _paths(getattr(data, key)) else None for key in SPLITS]
    return given(named[0]), named[1], named[2]


def _of_files(data: Data, key: str, log: Log) -> ImageFiles:
    paths = _paths(getattr(data, key))
    collections = [readers.of_path(path, key, data.person, may_be_empty=len(paths) > 1) for path in paths]
    filled = [images for images in collections if len(images)]
    if not filled:
        raise UserError(f"data.{key}: none of {', '.join(map(str, paths))} holds an image")
    if len(filled) < len(collections):
        log(f"{key}: {len(collections) - len(filled)} empty folders or zips")
    return readers.concatenated(filled)


def _held_out(images: ImageFiles, fraction: float, seed: int, split: str, log: Log) -> tuple[ImageFiles, ImageFiles]:
    """Hold out persons (or images, where persons are unknown) for the test or the validation split."""
    import numpy as np

    groups = np.arange(len(images))
    what = "images"
    if images.persons is not None:
        groups, what = np.unique(np.array(images.persons), return_inverse=True)[1], "persons"
    count = int(groups.max()) + 1
    if count < 2:
        raise UserError(f"{images.where} has {count} {what}; holding out a {split} split needs at least 2")
    wanted = min(count - 1, max(1, round(fraction * count)))
    drawn = np.random.default_rng(stream(str(seed), f"{split} split")).choice(count, size=wanted, replace=False)
    tested = np.isin(groups, drawn)
    log(f"no {split} split given: holding out {wanted} of {count} {what} ({tested.sum()} of {len(images)} images)")
    return images.subset(np.flatnonzero(~tested).tolist()), images.subset(np.flatnonzero(tested).tolist())


def _refuse_shared_persons(one: tuple[str, ImageFiles], other: tuple[str, ImageFiles]) -> None:
    (known, train), (name, test) = one, other
    if train.persons is None or test.persons is None:
        return
    shared = sorted(set(train.persons) & set(test.persons))
    if shared:
        names = ", ".join(shared[:5]) + (" and more" if len(shared) > 5 else "")
        raise UserError(
            f"{len(shared)} persons of the {name} images ({test.where}) are also in the {known} images "
            f"({train.where}): {names}. Give {name} images of other persons, or none."
        )


def _drawn(images: ImageFiles, data: Data, key: str) -> ImageFiles:
    wanted = getattr(data, key)
    if wanted is None:
        return images
    if wanted > len(images):
        raise UserError(f"data.{key}: {wanted} is more than the source has (allowed: 1 to {len(images)})")
    return images.subset(_choice(len(images), wanted, data, key))


def _choice(count: int, wanted: int, data: Data, key: str) -> list[int]:
    import numpy as np

    generator = np.random.default_rng(stream(str(data.seed), key))
    indices: list[int] = np.sort(generator.choice(count, size=wanted, replace=False)).tolist()
    return indices


def _parted(images: ImageFiles, data: Data) -> tuple[ImageFiles, ImageFiles]:
    """Images to train on and a reserve, of all of them."""
    count, kept = reserve.counts(len(images), None, data.reserve, "images")
    trained = set(_choice(len(images), count, data, "train images beside the reserve"))
    rest = [index for index in range(len(images)) if index not in trained]
    reserved = [rest[index] for index in _choice(len(rest), kept, data, "reserve")]
    return images.subset(sorted(trained)), images.subset(reserved)


def _rest(pool: ImageFiles, train: ImageFiles, watched: ImageFiles | None, data: Data) -> ImageFiles:
    """The reserve beside `rows` images drawn of `pool`, of which `train` are trained on; none of a person watched."""
    taken = set(_choice(len(pool), given(data.rows), data, "rows"))
    persons = set() if watched is None or watched.persons is None else set(watched.persons)
    rest = [
        index
        for index in range(len(pool))
        if index not in taken and (pool.persons is None or pool.persons[index] not in persons)
    ]
    _, kept = reserve.counts(len(train) + len(rest), len(train), data.reserve, "images")
    return pool.subset([rest[index] for index in _choice(len(rest), kept, data, "reserve")])


def _paths(value: str | list[str] | None) -> list[Path]:
    return [Path(path).expanduser() for path in ([value] if isinstance(value, str) else value or [])]


def _packaged_problems(data: Data) -> list[str]:
    name = data.name
    if name not in readers.PACKAGED:
        return [f"data.name: {name!r} is not a packaged data set (allowed: {', '.join(readers.PACKAGED)})"]
    if readers.packaged_folder(name) is None:
        package = readers.PACKAGED[name][0]
        return [f"data.name: '{name}' needs the Python package `{package}`, which is not installed"]
    return []


def _file_problems(data: Data) -> list[str]:
    messages = []
    for key in SPLITS:
        for path in _paths(getattr(data, key)):
            if not path.exists():
                messages.append(f"data.{key}: '{path}' does not exist (relative to {os.getcwd()})")
            elif path.is_dir():
                continue
            elif problem := unreadable(path):
                messages.append(f"data.{key}: {problem}")
            elif not zipfile.is_zipfile(path):
                messages.append(f"data.{key}: '{path}' is not a zip (allowed: folders and zips of images)")
    for known, key in combinations(SPLITS, 2):
        for path, other in product(_paths(getattr(data, key)), _paths(getattr(data, known))):
            inner, outer = real(path), real(other)
            if inner.is_relative_to(outer):
                messages.append(f"data.{key}: '{path}' is in data.{known} too (allowed: other images, or null)")
            elif outer.is_relative_to(inner):
                messages.append(
                    f"data.{key}: '{path}' holds '{other}' of data.{known} (allowed: other images, or null)"
                )
    person = data.person
    if person is not None and person != readers.FOLDER:
        try:
            groups = re.compile(person).groups
        except re.error as error:
            return [*messages, f"data.person: {person!r} is not a regular expression ({error})"]
        if groups != 1:
            messages.append(f"data.person: {person!r} has {groups} groups (allowed: one, which captures the person)")
    return messages


def _celeba_problems(data: Data) -> list[str]:
    messages = []
    for key in SPLIT_KEYS:
        split = getattr(data, key)
        if split not in readers.PARTITIONS and not (split is None and key == "validation_split"):
            messages.append(
                f"data.{key}: {getattr(data, key)!r} is not a split of CelebA ({', '.join(readers.PARTITIONS)})"
            )
    for known, key in combinations(SPLIT_KEYS, 2):
        if getattr(data, known) == getattr(data, key):
            messages.append(f"data.{key}: '{getattr(data, key)}' is data.{known} too")
    folder = Path(given(data.path)).expanduser()
    if not folder.is_dir():
        return [*messages, f"data.path: '{folder}' is not a folder (relative to {os.getcwd()})"]
    for names, tests in (
        (readers.PARTITION_FILES, (Path.is_file,)),
        (readers.CELEBA_IMAGES, (Path.is_file, Path.is_dir)),
    ):
        if not any(test(folder / name) for name in names for test in tests):
            messages.append(f"data.path: '{folder}' lacks CelebA's {' or '.join(names)}")
    return messages
