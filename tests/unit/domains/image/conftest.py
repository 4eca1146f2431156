"""Images made up for tests."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfloop.domains.image.config import Data


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    """A PNG file of an array [height, width] or [height, width, bands]."""
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def blobs(rows: int, seed: int = 0, bands: int = 1, size: int = 8) -> np.ndarray:
    """uint8 [rows, bands, size, size]: a bright spot somewhere."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(1, size - 1, (rows, 2, 1, 1))
    grid = np.arange(size)
    squares = (grid[None, :, None] - centres[:, 0]) ** 2 + (grid[None, None, :] - centres[:, 1]) ** 2
    bright = 255 * np.exp(-squares / 4)
    return np.repeat(bright[:, None], bands, axis=1).astype(np.uint8)


def settings(**given: Any) -> Data:
    """A `data` section with its defaults."""
    return Data.model_validate(given)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of image files, from names and bytes."""

    def make(files: dict[str, bytes], name: str = "images") -> Path:
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / name

    return make


def people(persons: int, each: int, first: int = 0) -> dict[str, bytes]:
    """Files person/number.png, all different."""
    images = blobs(persons * each, seed=first + 1, size=12)[:, 0]
    return {f"p{first + index // each:02d}/{index % each}.png": png(image) for index, image in enumerate(images)}
