"""Images in Parquet (an Image feature for `datasets`, bytes for pandas) and as one array, for training."""

import io
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from selfloop.errors import UserError

ROWS_PER_GROUP = 1_000  # an image is larger than a document
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 3: 2}  # PNG's codes of gray and RGB, by number of bands
UP = 2  # PNG's filter type "up": each row as its difference to the one above

# The columns of every image data set. `image` is an Image feature of `datasets`: a PNG file, and the path of a real
# image's source; `person` whom it shows, if known; `iteration` and `part` which model sampled it (iteration 0: real),
# `row` its index within the part.
_COLUMNS = {
    "image": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"}),
    "person": (pa.string(), {"dtype": "string", "_type": "Value"}),
    "iteration": (pa.int16(), {"dtype": "int16", "_type": "Value"}),
    "part": (pa.int16(), {"dtype": "int16", "_type": "Value"}),
    "row": (pa.int64(), {"dtype": "int64", "_type": "Value"}),
}
_FEATURES = {name: feature for name, (_, feature) in _COLUMNS.items()}
SCHEMA = pa.schema(
    [(name, kind) for name, (kind, _) in _COLUMNS.items()],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def encode_png(images: np.ndarray) -> list[bytes]:
    """Encode uint8 images [rows, bands, height, width] as PNG without compression.

    Parquet's zstd compresses photographs to about the same size in a fraction of the time.
    """
    count, bands, height, width = images.shape
    lines = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(count, height, width * bands)
    filtered = np.full((count, height, width * bands + 1), UP, dtype=np.uint8)
    filtered[:, 0, 1:] = lines[:, 0]
    np.subtract(lines[:, 1:], lines[:, :-1], out=filtered[:, 1:, 1:])
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[bands], 0, 0, 0))
    end = _chunk(b"IEND", b"")
    return [SIGNATURE + header + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 0)) + end for rows in filtered]


def decode(data: bytes, where: str) -> np.ndarray:
    """Decode a stored image to uint8 [bands, height, width].

    Raises:
        UserError: it cannot be decoded, or is neither gray nor RGB.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image)
    except UnidentifiedImageError:
        raise UserError(f"{where}: the image cannot be decoded (unknown format).") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{where}: the image cannot be decoded ({error}).") from error
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise UserError(f"{where}: the image is {pixels.dtype} of shape {pixels.shape}, neither gray nor RGB.")
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def arrays(batches: Iterable[pa.RecordBatch], where: str, threads: int) -> Iterator[np.ndarray]:
    """The images of each record batch, uint8 [rows, bands, size, size].

    Raises:
        UserError: an image cannot be decoded, or its shape differs from the first one's.
    """
    first: tuple[int, ...] | None = None
    seen = 0
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            labels = (f"{where}, row {seen + index}" for index in range(batch.num_rows))
            data = (value.as_py() for value in batch.column("image").field("bytes"))
            images = list(pool.map(decode, data, labels) if threads > 1 else map(decode, data, labels))
            for index, image in enumerate(images):
                first = first or image.shape
                if image.shape != first:
                    raise UserError(
                        f"{where}, row {seen + index}: the image has shape {image.shape} (bands, height, width), and "
                        f"the first one {first}."
                    )
            seen += batch.num_rows
            if images:
                yield np.stack(images)


def in_memory(batches: Iterable[pa.RecordBatch], where: str, threads: int) -> np.ndarray:
    """All images, uint8 [rows, bands, size, size].

    Raises:
        UserError: as `arrays`, or there is no image.
    """
    pieces = list(arrays(batches, where, threads))
    if not pieces:
        raise UserError(f"{where} has no image.")
    return np.concatenate(pieces)


def mapped(batches: Iterable[pa.RecordBatch], where: str, threads: int, path: Path) -> np.ndarray:
    """All images as one memory-mapped array, written to `path`; memory is bounded by one record batch.

    Raises:
        UserError: as `in_memory`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, shape = 0, ()
    with path.open("wb") as file:
        for images in arrays(batches, where, threads):
            file.write(images.data)
            rows, shape = rows + len(images), images.shape[1:]
    if not rows:
        raise UserError(f"{where} has no image.")
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(rows, *shape))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
