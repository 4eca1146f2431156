"""Conversion of image files of any mode and size to square gray or RGB images of one size."""

import io
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from selfloop.domains.image.config import Data
from selfloop.domains.image.data.readers import ImageFiles
from selfloop.errors import UserError

MODES = {"gray": "L", "rgb": "RGB"}
BLOCK = 500  # images in memory at a time
# Raised by Pillow for files that are broken, truncated, of unknown format, or decompression bombs.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, OverflowError, IndexError)


@dataclass
class Tally:
    """Counts over the images of a split."""

    modes: "Counter[str]" = field(default_factory=Counter)
    sizes: "Counter[tuple[int, int]]" = field(default_factory=Counter)
    enlarged: int = 0
    broken: list[str] = field(default_factory=list)

    def lines(self, split: str) -> Iterator[str]:
        """Log lines."""
        modes = ", ".join(f"{count} x {mode}" for mode, count in self.modes.most_common())
        sizes = ", ".join(f"{count} x {width}x{height}" for (width, height), count in self.sizes.most_common(5))
        more = f" and {len(self.sizes) - 5} other sizes" if len(self.sizes) > 5 else ""
        yield f"{split}: {self.modes.total()} images; modes {modes}; sizes {sizes}{more}"
        if self.enlarged:
            yield f"{split}: {self.enlarged} images are smaller than data.size and were upsampled"
        if self.broken:
            shown = "; ".join(self.broken[:5])
            yield f"{split}: {len(self.broken)} broken images dropped: {shown}{' …' if len(self.broken) > 5 else ''}"


@dataclass(frozen=True)
class ConvertedImage:
    """An image, uint8 [bands, size, size], and its original mode and size."""

    pixels: np.ndarray
    mode: str
    size: tuple[int, int]


def convert(data: bytes, size: int, crop: int | None, color: str) -> ConvertedImage:
    """Decode an image file, centre-crop it to a square and resize it.

    EXIF orientation is applied, transparency is composited onto white, and 16-bit values lose their lower byte. The
    square has `crop` pixels (None: as many as fit); resampling is bilinear with antialiasing. Of an animation, the
    first frame is used.

    Raises:
        ValueError: the image is smaller than `crop`, has floats or values beyond 16 bits, or damaged EXIF data.
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
    return ConvertedImage(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), mode, (width, height))


def _turned(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation."""
    try:
        return ImageOps.exif_transpose(image)
    except (struct.error, TypeError, AttributeError) as error:  # raised by Pillow for damaged tags
        raise ValueError(f"its EXIF data are damaged ({error})") from error


def _plain(image: Image.Image) -> Image.Image:
    """Convert to 8 bits per band without alpha."""
    if image.mode == "F":
        raise ValueError("its values are floats of unknown range (allowed: 8 and 16 bits)")
    if image.mode.startswith("I"):
        values = np.asarray(image.convert("I"))
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"its values are of 32 bits, from {values.min()} to {values.max()} (allowed: 0 to 65535, 16 bits)"
            )
        return Image.fromarray((values >> 8).astype(np.uint8))  # the same scale for all such images
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image


def converted(images: ImageFiles, data: Data, threads: int, tally: Tally) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Convert all images: yields blocks of indices and uint8 [rows, bands, size, size].

    Args:
        images: the files.
        data: the config's section, with size, crop, color and broken.
        threads: for decoding.
        tally: updated.

    Raises:
        UserError: an image is broken, and `data.broken` is not "drop".
    """

    def convert_one(index: int) -> ConvertedImage | str:
        try:
            return convert(images.read(index), data.size, data.crop, data.color)
        except UnidentifiedImageError:  # its message holds a memory address
            return "its format is unknown"
        except (UserError, *BROKEN) as error:
            return " ".join(str(error).split()) or type(error).__name__

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(images), BLOCK):
            block = range(begin, min(begin + BLOCK, len(images)))
            kept, pixels = [], []
            for index, result in zip(block, pool.map(convert_one, block), strict=True):
                if isinstance(result, str):
                    tally.broken.append(f"{images.label(index)} ({result})")
                    if data.broken != "drop":
                        raise UserError(
                            f"{images.label(index)}: the image cannot be used: {result}. Repair or remove it, or set "
                            "data.broken: drop to skip and count such images."
                        )
                    continue
                tally.modes[result.mode] += 1
                tally.sizes[result.size] += 1
                tally.enlarged += (data.crop or min(result.size)) < data.size
                kept.append(index)
                pixels.append(result.pixels)
            if kept:
                yield kept, np.stack(pixels)
