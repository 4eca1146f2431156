"""Conversion of image files of any mode and size to square gray or RGB images of one size."""

import io
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from selfloop.domains.image.config import Data
from selfloop.domains.image.data.readers import BeyondLimit, ImageFiles
from selfloop.errors import UserError

MODES = {"gray": "L", "rgb": "RGB"}
BLOCK = 500  # images in memory at a time
# Raised by Pillow for files that are broken, truncated or of unknown format.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, OverflowError, IndexError)
PNG = b"\x89PNG\r\n\x1a\n"
UNUSED_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # of PNG
# By Pillow's raw modes, what a PNG's transparent value is multiplied by to match the pixels.
SCALES = {"L;2": 255 / 3, "L;4": 255 / 15, "RGB;16B": 1 / 256}


@dataclass
class Tally:
    """Counts over the images of a split."""

    modes: "Counter[str]" = field(default_factory=Counter)
    sizes: "Counter[tuple[int, int]]" = field(default_factory=Counter)
    enlarged: int = 0
    animated: int = 0
    broken: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)

    def lines(self, split: str) -> Iterator[str]:
        """Log lines."""
        modes = ", ".join(f"{count} x {mode}" for mode, count in self.modes.most_common())
        sizes = ", ".join(f"{count} x {width}x{height}" for (width, height), count in self.sizes.most_common(5))
        more = f" and {len(self.sizes) - 5} other sizes" if len(self.sizes) > 5 else ""
        yield f"{split}: {self.modes.total()} images; modes {modes}; sizes {sizes}{more}"
        if self.enlarged:
            yield f"{split}: {self.enlarged} images are smaller than data.size and were upsampled"
        if self.animated:
            yield f"{split}: {self.animated} images have several frames, of which the first was taken"
        for what, dropped in (("broken images", self.broken), ("images beyond a limit", self.beyond)):
            if dropped:
                shown = "; ".join(dropped[:5])
                yield f"{split}: {len(dropped)} {what} dropped: {shown}{' …' if len(dropped) > 5 else ''}"


@dataclass(frozen=True)
class ConvertedImage:
    """An image, uint8 [bands, size, size], its original mode and size, and whether it has further frames."""

    pixels: np.ndarray
    mode: str
    size: tuple[int, int]
    animated: bool


class Refused(NamedTuple):
    """Why an image cannot be used, and whether it is a limit of ours or Pillow's and no damage."""

    reason: str
    limit: bool


def convert(data: bytes, size: int, crop: int | None, color: str) -> ConvertedImage:
    """Decode an image file, centre-crop it to a square and resize it.

    EXIF orientation is applied, transparency is composited onto white, and 16-bit values lose their lower byte. The
    square has `crop` pixels (None: as many as fit); resampling is bilinear with antialiasing. Of an animation, the
    first frame is used.

    Raises:
        ValueError: the image is smaller than `crop`, has floats or values beyond 16 bits, or damaged EXIF data.
        OSError and others of `BROKEN`: the file cannot be decoded.
        Image.DecompressionBombError: it has more pixels than Pillow decodes.
    """
    with _opened(data) as opened:
        mode, (width, height) = opened.mode, opened.size
        _scale_transparency(opened)
        if crop is not None and min(width, height) < crop:
            raise ValueError(f"it is {width}x{height}, smaller than data.crop, {crop}")
        image = _plain(_turned(opened)).convert(MODES[color])
        animated = _is_animated(opened)
    side = crop or min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    pixels = np.asarray(image)
    bands = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return ConvertedImage(bands, mode, (width, height), animated)


def _opened(data: bytes) -> Image.Image:
    """Open an image; texts and colour profiles, which are not used, may be of any size."""
    try:
        return Image.open(io.BytesIO(data))
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
        return Image.open(io.BytesIO(_without_unused_chunks(data)))


def _without_unused_chunks(data: bytes) -> bytes:
    kept, begin = [PNG], len(PNG)
    while begin < len(data):
        end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
        if data[begin + 4 : begin + 8] not in UNUSED_CHUNKS:
            kept.append(data[begin:end])
        begin = end
    return b"".join(kept)


def _scale_transparency(image: Image.Image) -> None:
    """Have a PNG's transparent value match its pixels, which Pillow scales to 8 bits and the value not."""
    raw_mode = image.tile[0].args if len(image.tile) == 1 and image.format == "PNG" else None  # type: ignore[attr-defined]
    value = image.info.get("transparency")
    if isinstance(raw_mode, str) and raw_mode in SCALES and value is not None:
        scale = SCALES[raw_mode]
        scaled = tuple(int(each * scale) for each in (value if isinstance(value, tuple) else (value,)))
        image.info["transparency"] = scaled if isinstance(value, tuple) else scaled[0]


def _is_animated(image: Image.Image) -> bool:
    """Whether there is a second frame; Pillow's `n_frames` reads all of them."""
    try:
        image.seek(1)
    except BROKEN:
        return False
    return True


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
        if isinstance(image.info.get("transparency"), int):
            values = np.where(values == image.info["transparency"], 65535, values)
        return Image.fromarray((values >> 8).astype(np.uint8))  # the same scale for all such images
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB") if image.mode == "LAB" else image  # which Pillow does not convert to gray


def converted(images: ImageFiles, data: Data, threads: int, tally: Tally) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Convert all images: yields blocks of indices and uint8 [rows, bands, size, size].

    Args:
        images: the files.
        data: the config's section, with size, crop, color and broken.
        threads: for decoding.
        tally: updated.

    Raises:
        UserError: an image is broken or beyond a limit, and `data.broken` is not "drop".
    """

    def convert_one(index: int) -> ConvertedImage | Refused:
        try:
            return convert(images.read(index), data.size, data.crop, data.color)
        except UnidentifiedImageError:  # its message holds a memory address
            return Refused("its format is unknown", limit=False)
        except (UserError, Image.DecompressionBombError, *BROKEN) as error:
            limit = isinstance(error, BeyondLimit | Image.DecompressionBombError)
            return Refused(" ".join(str(error).split()) or type(error).__name__, limit)

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(images), BLOCK):
            block = range(begin, min(begin + BLOCK, len(images)))
            kept, pixels = [], []
            for index, result in zip(block, pool.map(convert_one, block), strict=True):
                if isinstance(result, Refused):
                    where, (reason, limit) = images.label(index), result
                    (tally.beyond if limit else tally.broken).append(f"{where} ({reason})")
                    if data.broken != "drop":
                        advice = "Make it smaller" if limit else "Repair"
                        raise UserError(
                            f"{where}: the image {'is beyond a limit' if limit else 'cannot be used'}: "
                            f"{reason.rstrip('.')}. {advice} or remove it, or set data.broken: drop to skip and count "
                            "such images."
                        )
                    continue
                tally.modes[result.mode] += 1
                tally.sizes[result.size] += 1
                tally.animated += result.animated
                tally.enlarged += (data.crop or min(result.size)) < data.size
                kept.append(index)
                pixels.append(result.pixels)
            if kept:
                yield kept, np.stack(pixels)
