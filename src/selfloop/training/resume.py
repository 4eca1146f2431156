"""Resume checkpoints: what a killed training resumes from.

Snakemake deletes the outputs of a failed job, so they lie in a folder that no rule declares. Each carries a fingerprint
of its config, data and code; a checkpoint with another fingerprint is ignored. Each carries a checksum of its contents;
whatever cannot be read, or is not what was saved, is ignored, too: the training starts from scratch.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfloop.data.atomic import atomic_file
from selfloop.data.learning_curve import CurvePoint

MAX_OVERHEAD = 0.02  # fraction of the training time spent on saving; large models on slow disks save less often

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Contents of a resume checkpoint.

    Attributes:
        tensors: of the optimizer and the model, by name.
        step: finished steps.
        curve: the learning curve so far.
    """

    tensors: dict[str, Tensor]
    step: int
    curve: list[CurvePoint]


class ResumeCheckpoint:
    """The resume checkpoint of one training.

    Args:
        folder: created when first needed.
        fingerprint: digest of everything that the training depends on.
        every_seconds: minimum time between two checkpoints.
    """

    def __init__(self, folder: Path, fingerprint: str, every_seconds: float) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "state.safetensors"
        self.fingerprint = fingerprint
        self.every_seconds = every_seconds
        self._saved_at = time.monotonic()
        self._took = 0.0

    def is_due(self) -> bool:
        """Whether to save now: after `every_seconds` (0: always), or later if saving would exceed `MAX_OVERHEAD`."""
        return not self.every_seconds or time.monotonic() - self._saved_at >= max(
            self.every_seconds, self._took / MAX_OVERHEAD
        )

    def save(self, tensors: Mapping[str, Tensor], step: int, curve: Sequence[CurvePoint]) -> None:
        """Replace the checkpoint atomically."""
        began = time.monotonic()
        values = json.dumps({"step": step, "curve": curve})
        metadata = {"fingerprint": self.fingerprint, "values": values, "checksum": _checksum(tensors, values)}
        with atomic_file(self.path, checksum=False) as scratch:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, scratch, metadata=metadata)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began

    def load(self) -> Snapshot | None:
        """The checkpoint, or None if there is none with this fingerprint that is as it was saved."""
        if not os.path.lexists(self.path):
            return None
        try:
            metadata, tensors = read(self.path)
            if metadata["fingerprint"] != self.fingerprint:
                log.warning("%s is ignored: its config, data or code differ", self.path)
                return None
            return Snapshot(tensors, **json.loads(metadata["values"]))
        except Exception as error:  # of any kind: what is not readable is not needed
            log.warning("%s cannot be read (%s: %s); starting from scratch", self.path, type(error).__name__, error)
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)  # no file could be renamed to it
        return None

    def remove_scratch(self) -> None:
        """Delete the other files in the folder, such as memory-mapped data, once the outputs are written.

        The checkpoint stays: a kill before Snakemake has recorded the outputs reruns the training, which then resumes
        from its end. The step evaluate_model deletes it (see `selfloop.jobs.steps`).
        """
        for path in self.folder.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self.path:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: the checkpoint is there
            self.folder.rmdir()


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and tensors of a resume checkpoint.

    Raises:
        Exception: of any kind, if it is not as it was saved.
    """
    if not path.is_file():
        raise ValueError("it is not a file")
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if metadata["checksum"] != _checksum(tensors, metadata["values"]):
        raise ValueError("its checksum is not that of what was saved")
    return metadata, tensors


def _checksum(tensors: Mapping[str, Tensor], values: str) -> str:
    """XXH3-128 of a checkpoint's contents, on the CPU one tensor at a time."""
    total = xxhash.xxh3_128(values.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
