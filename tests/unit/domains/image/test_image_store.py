"""Image data sets: their files open everywhere, and come back as they were."""

import io
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfloop.data.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.errors import UserError

from .conftest import blobs


def write(folder: Path, images: np.ndarray, rows_per_group: int = 4) -> Path:
    folder.mkdir()
    with ShardWriter(folder, image_store.SCHEMA, rows_per_group=rows_per_group) as writer:
        for row, data in enumerate(image_store.encode_png(images)):
            place = {"person": "p", "iteration": 2, "part": 1, "row": row}
            writer.append({"image": {"bytes": data, "path": f"{row}.png"}, **place})
    return folder


@pytest.mark.parametrize("bands", [1, 3])
def test_a_png_file_is_one_for_everybody_and_holds_every_pixel(bands: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, bands, 5, 7), dtype=np.uint8)
    for data, image in zip(image_store.encode_png(images), images, strict=True):
        opened = Image.open(io.BytesIO(data))
        assert (opened.format, opened.mode, opened.size) == ("PNG", {1: "L", 3: "RGB"}[bands], (7, 5))
        opened.verify()
        assert np.array_equal(image_store.decode(data, ""), image)


@pytest.mark.parametrize("bands", [1, 3])
def test_a_data_set_opens_in_datasets_as_images_and_in_pandas_as_bytes(tmp_path: Path, bands: int) -> None:
    images = blobs(10, bands=bands)
    folder = write(tmp_path / "set", images)
    files = [str(path) for path in shard_paths(folder)]
    opened = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert opened.features["image"] == datasets.Image()
    assert opened.features["row"] == datasets.Value("int64")
    assert isinstance(opened[3]["image"], Image.Image)
    assert np.array_equal(np.asarray(opened[3]["image"]).reshape(8, 8, -1), images[3].transpose(1, 2, 0))
    assert (opened[3]["iteration"], opened[3]["part"], opened[3]["row"], opened[3]["person"]) == (2, 1, 3, "p")
    frame = pd.read_parquet(folder)
    assert frame["image"][3]["bytes"].startswith(b"\x89PNG")
    assert frame["image"][3]["path"] == "3.png"


@pytest.mark.parametrize("threads", [1, 3])
def test_images_come_back_in_their_order_in_memory_and_mapped(tmp_path: Path, threads: int) -> None:
    images = blobs(11, bands=3)
    paths = shard_paths(write(tmp_path / "set", images))
    assert np.array_equal(image_store.in_memory(iterate_rows(paths, ["image"], 3), "set", threads), images)
    mapped = image_store.mapped(iterate_rows(paths, ["image"], 3), "set", threads, tmp_path / "state" / "images.uint8")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, images)


def test_what_is_no_image_or_of_another_size_is_named_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with ShardWriter(tmp_path / "set", image_store.SCHEMA) as writer:
        for data in (*image_store.encode_png(blobs(2)), *image_store.encode_png(blobs(1, size=16)), b"nothing"):
            writer.append({"image": {"bytes": data}})
    rows = list(iterate_rows(shard_paths(tmp_path / "set"), ["image"], 1))
    with pytest.raises(UserError, match=r"set, row 2: the image has shape \(1, 16, 16\)"):
        image_store.in_memory(rows[:3], "set", 1)
    with pytest.raises(UserError, match="row 0: the image cannot be decoded"):
        image_store.in_memory(rows[3:], "set", 1)
    with pytest.raises(UserError, match="set has no image"):
        image_store.in_memory([], "set", 1)
