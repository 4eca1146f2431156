"""What `selfloop init` finds in images, and the studies that it makes of them: see `selfloop.domains.proposal`."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from selfloop.domains.cost import AnyEffort
from selfloop.domains.image.config import Data, Model
from selfloop.domains.image.cost import effort_of
from selfloop.domains.image.data import readers
from selfloop.domains.image.data.conversion import Tally, converted
from selfloop.domains.image.data.readers import ImageFiles
from selfloop.domains.image.domain import parameter_count
from selfloop.domains.proposal import (
    COSINE,
    CURVE,
    NAMED,
    ON_HUB,
    PER_STEP,
    TESTED,
    Choice,
    Choices,
    Draft,
    Found,
    Scale,
    common_name,
    defaults,
    too_few,
)
from selfloop.numbers import short

if TYPE_CHECKING:
    import datasets
    from PIL.Image import Image

LOOKED_AT = 400  # images that are opened
LEAST = 40  # images of which there can be a study
GRAY = frozenset({"1", "L", "LA", "I", "I;16"})


@dataclass(frozen=True)
class Size:
    """A model, and how it is trained."""

    side: int
    channels: tuple[int, ...]
    latent: int
    batch_size: int
    learning_rate: float
    epochs: int
    rows: int  # at least, so that it learns more than a smaller one does


SIZES = (
    Size(32, (8, 16, 32), 16, 16, 5e-3, 15, 200),
    Size(32, (16, 32, 64), 32, 32, 5e-3, 20, 800),
    Size(64, (16, 32, 64, 128), 64, 64, 5e-3, 30, 3_000),
    Size(64, (32, 64, 128, 256, 512), 128, 64, 5e-3, 50, 15_000),
)
LONGEST_TRAINING = 4  # times the usual epochs, where there are few images


@dataclass(frozen=True)
class Images:
    """Images as the study will read them.

    Attributes:
        data: what says where they are.
        count: how many there are.
        side: the shorter side of a typical one.
        color: "gray" or "rgb".
        color_why: why.
        tested: whether there is a test split of its own.
    """

    name: str
    data: Choices
    count: int
    side: float
    color: str
    color_why: str
    tested: bool = False


def files_of(path: Path) -> list[Path]:
    """The images below a folder, or a zip itself."""
    if path.is_dir():
        return readers.images_of(path)
    return [path] if path.suffix.lower() == ".zip" else []


def found(named: Sequence[str], paths: Sequence[Path]) -> Found:
    """What is in folders and zips of images.

    Args:
        named: the paths as the user wrote them.
        paths: their files; not read again.

    Raises:
        UserError: they cannot be read, or hold too little.
    """
    images = readers.concatenated([readers.of_path(Path(name), "train", None) for name in named])
    where = named[0] if len(named) == 1 else f"{len(named)} folders and zips"
    chosen = sorted(random.Random(0).sample(range(len(images)), min(LOOKED_AT, len(images))))
    tally = _looked_at(images.subset(chosen))
    said = [f"{where}: {len(images):,} images; of {len(chosen)} that were opened, {_described(tally)}."]
    if images.others:
        others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(images.others.items()))
        said.append(f"Files that are not images are skipped: {others}.")
    data = {"source": Choice("files", NAMED), "train": Choice(named[0] if len(named) == 1 else list(named), NAMED)}
    bad = [*tally.broken, *tally.beyond]
    if bad:
        said.append(f"{len(bad)} of them cannot be used and are dropped: {'; '.join(bad[:3])}.")
        data["broken"] = Choice("drop", f"{len(bad)} of {len(chosen)} cannot be used")
    folders = Counter(str(Path(name).parent) for name in images.names)
    if len(folders) > 1:
        said.append(f"They are in {len(folders)} folders; where each shows one person, set data.person: folder.")
    usable = round(len(images) * (1 - len(bad) / len(chosen)))
    return _proposal(common_name([Path(named[0])]), data, usable, tally, said, where)


def of_hub(name: str, builder: "datasets.DatasetBuilder", rows: Iterable[Mapping[str, "Image | None"]]) -> Found | None:
    """What is in a data set of the hub whose features hold an image; `rows`: the first ones of its train split."""
    info = builder.info
    columns = [key for key, feature in (info.features or {}).items() if type(feature).__name__ == "Image"]
    if not columns:
        return None
    pictures = [picture for row in rows if (picture := row[columns[0]]) is not None]
    tally = Tally()
    for picture in pictures:
        tally.modes[picture.mode] += 1
        tally.sizes[picture.size] += 1
    splits = {key: split.num_examples for key, split in (info.splits or {}).items()}
    count = splits.get("train") or len(pictures)
    test = next((key for key in ("test", "validation") if splits.get(key)), None)
    data = {"source": Choice("hub", ON_HUB), "name": Choice(name, NAMED)}
    data["image_column"] = Choice(columns[0], "the first column of images")
    data["test_split"] = Choice(test, f"its splits are {', '.join(splits)}" if splits else "a share is held out")
    said = [f"{name}: {count:,} images; of the first {len(pictures)}, {_described(tally)}."]
    return _proposal(common_name([Path(name)]), data, count, tally, said, name, test is not None)


def _looked_at(images: ImageFiles) -> Tally:
    tally = Tally()
    data = defaults(Data, source="files", train=".", size=8, broken="drop")
    for _ in converted(images, data, 1, tally):
        pass
    return tally


def _described(tally: Tally) -> str:
    sizes = ", ".join(f"{count} of {width}x{height}" for (width, height), count in tally.sizes.most_common(3))
    more = f" and {len(tally.sizes) - 3} other sizes" if len(tally.sizes) > 3 else ""
    return f"{sizes or 'none can be used'}{more}; modes {', '.join(f'{key} {n}' for key, n in tally.modes.items())}"


def _proposal(
    name: str, data: Choices, count: int, tally: Tally, said: list[str], where: str, tested: bool = False
) -> Found:
    if count < LEAST or not tally.sizes:
        raise too_few(count if tally.sizes else 0, "images", LEAST, where)
    side = median(min(size) for size in tally.sizes.elements())
    gray = sum(number for mode, number in tally.modes.items() if mode in GRAY)
    color = "gray" if gray > tally.modes.total() / 2 else "rgb"
    mixed = 0 < gray < tally.modes.total()
    why = f"{gray} of {tally.modes.total()} are gray" if gray else "none that was opened is gray"
    if mixed:
        said.append(f"Gray and colour are mixed; all are converted to {color}.")
    images = Images(name, data, count, side, color, why, tested)
    sizes = [size for size in SIZES if size.rows <= _available(images) and size.side <= max(32, side)] or SIZES[:1]

    def effort(section: Data, model: Model) -> AnyEffort:
        return effort_of(section, model, section.rows or count, section.test_rows or 1)

    scales = tuple(Scale(partial(_draft, images, size), _most(images, size)) for size in sizes)
    return Found(name, tuple(said), scales, effort)


def _available(images: Images) -> int:
    return images.count if images.tested else math.floor(0.8 * images.count) - 1


def _least(images: Images, size: Size) -> int:
    return min(size.rows, _available(images))


def _most(images: Images, size: Size) -> float:
    return max(1.0, LONGEST_TRAINING * _available(images) / _least(images, size))


def _draft(images: Images, size: Size, factor: float) -> Draft:
    """The sections of a study, `factor` times as long as the shortest of its size."""
    available, least = _available(images), _least(images, size)
    rows = min(available, round(least * factor))
    short_of = min(LONGEST_TRAINING, size.rows / least)  # few images are seen more often
    epochs = max(1, round(size.epochs * max(1.0, short_of) * max(1.0, factor * least / rows)))
    test = max(8, min(1_000, rows // 3, round(0.2 * images.count) - 1))
    data = {
        **images.data,
        "size": Choice(size.side, f"the shorter side of a typical image has {images.side:.0f} pixels"),
        "color": Choice(images.color, images.color_why),
        "rows": Choice(rows, f"of {available:,}" + (", as many as the time allows" if rows < available else "")),
        "test_rows": Choice(test, TESTED),
    }
    section = defaults(Data, source="files", train=".", size=size.side, color=images.color)
    model = defaults(Model, channels=list(size.channels), latent=size.latent)
    count = parameter_count(section, model)
    return Draft(
        data,
        {
            "channels": Choice(list(size.channels), f"{short(count)} parameters, the largest that the time allows"),
            "latent": Choice(size.latent, "numbers that an image is encoded in; more for larger models"),
        },
        {
            "epochs": Choice(epochs, f"{epochs * rows // size.batch_size:,} steps or more"),
            "batch_size": Choice(min(size.batch_size, rows), f"images {PER_STEP}"),
            "learning_rate": Choice(size.learning_rate, "these models learn little from smaller ones in so few steps"),
            "schedule": Choice("cosine", COSINE),
            "kl_weight": Choice(0.001, "sharper reconstructions with less, samples more like the data with more"),
            "evaluations": Choice(4, CURVE),
            "precision": Choice("float32", "the same on every processor"),
        },
    )
