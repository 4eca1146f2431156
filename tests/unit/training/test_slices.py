"""Finished slices of a sampled part: as they were saved, of the same config, data and code, or not at all."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from selfloop.training.slices import FinishedSlices, joined, split

PIECES = [np.array([0, 7, 0], dtype=np.int32), np.array([], dtype=np.int32), np.array([5], dtype=np.int32)]


def test_a_slice_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    finished = FinishedSlices(tmp_path / "part", "mine")
    assert finished.load(512) is None and not finished.reused
    finished.save(512, joined(PIECES))
    saved = finished.load(512)
    assert saved is not None and finished.reused
    assert [(piece.tolist(), piece.dtype) for piece in split(saved)] == [(p.tolist(), p.dtype) for p in PIECES]
    assert finished.among([0, 512, 1024]) == 1
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["slice-000000512.safetensors"]


def test_without_a_folder_nothing_is_kept() -> None:
    finished = FinishedSlices()
    finished.save(0, joined(PIECES))
    assert finished.load(0) is None
    assert finished.among([0]) == 0


@pytest.mark.parametrize("damage", ["other fingerprint", "flipped bit", "cut", "folder"])
def test_a_slice_of_something_else_or_that_is_damaged_is_sampled_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("selfloop").propagate = True
    finished = FinishedSlices(tmp_path, "mine")
    path = tmp_path / "slice-000000000.safetensors"
    finished.save(0, {"values": torch.arange(100)})
    if damage == "other fingerprint":
        finished = FinishedSlices(tmp_path, "other")
    elif damage == "flipped bit":
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()
        path.mkdir()
    assert finished.load(0) is None and not finished.reused
    assert str(path) in caplog.text
    finished.save(0, {"values": torch.arange(100)})
    assert finished.load(0) is not None
