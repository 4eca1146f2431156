"""Finished slices of a sampled part: what a killed sampling resumes from.

They lie in a folder that no rule declares, as resume checkpoints do, with a fingerprint and a checksum each: one of
another config, data or code, or that is not as it was saved, is sampled again. The step evaluate_part deletes them
(see `selfloop.jobs.steps`).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfloop.checksums import hidden_sibling
from selfloop.jobs.job import Job, StepParams
from selfloop.training.saved_state import load, write

SUFFIX = ".safetensors"


class FinishedSlices:
    """The finished slices of one part, each known by the first of its rows.

    Ranks, and threads, may use one folder: each has slices of its own.

    Args:
        folder: created when first needed; None keeps nothing.
        fingerprint: digest of everything that the part depends on; needed with a folder.

    Attributes:
        reused: whether a slice of an earlier attempt was loaded, so that this attempt's time is not the part's.
    """

    def __init__(self, folder: Path | None = None, fingerprint: str = "") -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.reused = False

    def among(self, rows: Sequence[int]) -> int:
        """How many of the slices that begin at `rows` there seem to be."""
        return 0 if self.folder is None else sum(self._path(row).exists() for row in rows)

    def load(self, row: int) -> dict[str, Tensor] | None:
        """The tensors of the slice that begins at a row, by name, or None if it has to be sampled."""
        saved = self.folder and load(self._path(row), self.fingerprint, "it is sampled again")
        if not saved:
            return None
        self.reused = True
        return saved[1]

    def save(self, row: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep a slice, atomically. It is not flushed to the disk: after a power failure, its checksum is wrong."""
        if self.folder is None:
            return
        path = self._path(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = hidden_sibling(path, "partial")
        try:
            write(scratch, tensors, self.fingerprint)
            os.replace(scratch, path)
        finally:  # after an error; otherwise it has been renamed
            scratch.unlink(missing_ok=True)

    def _path(self, row: int) -> Path:
        assert self.folder is not None
        return self.folder / f"slice-{row:09d}{SUFFIX}"


def joined(pieces: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Arrays [lengths] of one dtype as the tensors of a slice."""
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    return {"values": torch.from_numpy(np.concatenate(pieces)), "lengths": torch.from_numpy(lengths)}


def split(tensors: Mapping[str, Tensor]) -> list[np.ndarray]:
    """The inverse of `joined`."""
    return np.split(tensors["values"].numpy(), np.cumsum(tensors["lengths"].numpy())[:-1])


def of_part(job: Job[StepParams], state: str | None, slices: int) -> FinishedSlices:
    """Where the step generate keeps the slices of a part: in the folder `state`, if there are several."""
    return FinishedSlices(Path(state), job.fingerprint()) if state and slices > 1 else FinishedSlices()
