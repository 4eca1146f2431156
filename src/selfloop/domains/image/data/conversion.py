"""From image files of any mode and size to square gray or RGB images of one size."""

import io
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from selfloop.domains.image.data.collection import Collection
from selfloop.errors import UserError

MODES = {"gray": "L", "rgb": "RGB"}
BLOCK = 500  # images that are held in memory at once
# What Pillow raises for files that are broken, truncated, of no known format, or too large to be a photograph.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, OverflowError, IndexError)


@dataclass
class Tally:
    """What was met while a split was converted."""

    modes: "Counter[str]" = field(default_factory=Counter)
    sizes: "Counter[tuple[int, int]]" = field(default_factory=Counter)
    enlarged: int = 0
    broken: list[str] = field(default_factory=list)

    def lines(self, split: str) -> Iterator[str]:
        """What a log says of it."""
        modes = ", ".join(f"{count} x {mode}" for mode, count in self.modes.most_common())
        sizes = ", ".join(f"{count} x {width}x{height}" for (width, height), count in self.sizes.most_common(5))
        more = f" and {len(self.sizes) - 5} other sizes" if len(self.sizes) > 5 else ""
        yield f"{split}: {self.modes.total()} images; modes {modes}; sizes {sizes}{more}"
        if self.enlarged:
            yield f"{split}: {self.enlarged} images are smaller than data.size and were enlarged"
        if self.broken:
            shown = "; ".join(self.broken[:5])
            yield f"{split}: {len(self.broken)} broken images dropped: {shown}{' …' if len(self.broken) > 5 else ''}"


@dataclass(frozen=True)
class Picture:
    """A converted image, uint8 [bands, size, size], and what it was before."""

    pixels: np.ndarray
    mode: str
    size: tuple[int, int]


def convert(data: bytes, size: int, crop: int | None, color: str) -> Picture:
    """An image file as a square image.

    It is turned as its EXIF data say; transparency shows white; 16-bit values, and those of 32 bits that are no larger,
    lose their lower byte. Of the centre, a square of `crop` pixels (None: the largest) is resized to `size` with an
    antialiasing bilinear filter. Of an animation, it is the first frame.

    Raises:
        ValueError: the image is smaller than `crop`, its values are larger than 16 bits hold, or floats, or its EXIF
            data are damaged.
        OSError and others of `BROKEN`: the file cannot be decoded.
    """
    with Image.open(io.BytesIO(data)) as opened:
        mode, (width, height) = opened.mode, opened.size
        if crop is not None and min(width, height) < crop:
            raise ValueError(f"it is {width}x{height}, smaller than data.crop, {crop}")
        image = _plain(_turned(opened)).convert(MODES[color])
    side = crop or min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    pixels = np.asarray(image)
    return Picture(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), mode, (width, height))


def _turned(image: Image.Image) -> Image.Image:
    """An image the right way up."""
    try:
        return ImageOps.exif_transpose(image)
    except (struct.error, TypeError, AttributeError) as error:  # of Pillow, from damaged tags
        raise ValueError(f"its EXIF data are damaged ({error})") from error


def _plain(image: Image.Image) -> Image.Image:
    """An image without transparency and with 8 bits per band."""
    if image.mode == "F":
        raise ValueError("its values are floats, whose black and white nothing tells (allowed are 8 and 16 bits)")
    if image.mode.startswith("I"):
        values = np.asarray(image.convert("I"))
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"its values are of 32 bits, from {values.min()} to {values.max()} (allowed are those of 16 "
                "bits, 0 to 65535)"
            )
        return Image.fromarray((values >> 8).astype(np.uint8))  # of every such image, so that all are on one scale
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image


def converted(
    images: Collection, data: Mapping[str, Any], threads: int, tally: Tally
) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Blocks of images in their order: which they are, and uint8 [rows, bands, size, size].

    Args:
        images: the collection.
        data: the config's section: size, crop, color, and broken, which says what becomes of broken images.
        threads: that decode.
        tally: counts what is met.

    Raises:
        UserError: an image is broken, and `data.broken` is not "drop".
    """

    def picture(index: int) -> Picture | str:
        try:
            return convert(images.read(index), data["size"], data["crop"], data["color"])
        except UnidentifiedImageError:  # whose message names an address in memory
            return "it is no image of a known format"
        except (UserError, *BROKEN) as error:
            return " ".join(str(error).split()) or type(error).__name__

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(images), BLOCK):
            block = range(begin, min(begin + BLOCK, len(images)))
            kept, pixels = [], []
            for index, found in zip(block, pool.map(picture, block), strict=True):
                if isinstance(found, str):
                    tally.broken.append(f"{images.place(index)} ({found})")
                    if data["broken"] != "drop":
                        raise UserError(
                            f"{images.place(index)}: the image cannot be used: {found}. Repair or remove it, or set "
                            "data.broken: drop to leave such images out; the log then counts them."
                        )
                    continue
                tally.modes[found.mode] += 1
                tally.sizes[found.size] += 1
                tally.enlarged += (data["crop"] or min(found.size)) < data["size"]
                kept.append(index)
                pixels.append(found.pixels)
            if kept:
                yield kept, np.stack(pixels)
