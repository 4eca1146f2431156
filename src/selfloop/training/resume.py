"""Resume checkpoints: what a killed training resumes from.

Snakemake deletes the outputs of a failed job, so they lie in a folder that no rule declares. Each carries a fingerprint
of its config, data and code; a checkpoint with another fingerprint is ignored. Each carries a checksum of its contents;
whatever cannot be read, or is not what was saved, is ignored, too: the training starts from scratch.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from selfloop.data.atomic import atomic_file
from selfloop.data.learning_curve import CurvePoint
from selfloop.training.saved_state import load, write

MAX_OVERHEAD = 0.02  # fraction of the training time spent on saving; large models on slow disks save less often


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
        with atomic_file(self.path, checksum=False) as scratch:
            write(scratch, tensors, self.fingerprint, json.dumps({"step": step, "curve": curve}))
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began

    def load(self) -> Snapshot | None:
        """The checkpoint, or None if there is none with this fingerprint that is as it was saved."""
        saved = load(self.path, self.fingerprint, "starting from scratch")
        return None if saved is None else Snapshot(saved[1], **json.loads(saved[0]))

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
