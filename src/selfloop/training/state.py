"""The state that a training saves beside its outputs, so that a killed job goes on where it was.

Snakemake deletes a failed job's outputs, so the state lies in a folder that is not declared. It carries a fingerprint
of the settings, data and code that it came from: a changed setting never goes on from stale weights.
"""

import json
import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfloop.data.atomic import whole_file

LARGEST_SHARE = 0.02  # of the training's time may go into saving; large states on slow disks are saved less often

log = logging.getLogger(__name__)


class Terminated(Exception):
    """The job was asked to stop, and saved its state."""


@dataclass(frozen=True)
class Snapshot:
    """A state as it was saved: tensors, and JSON values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class SavedState:
    """One training's state folder.

    Args:
        folder: where the state lies; it is made when first needed.
        fingerprint: names everything that the training depends on.
        every_seconds: how often `is_due` says yes, at most.
    """

    def __init__(self, folder: Path, fingerprint: str, every_seconds: float) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "state.safetensors"
        self.fingerprint = fingerprint
        self.every_seconds = every_seconds
        self._saved_at = time.monotonic()
        self._took = 0.0

    def is_due(self) -> bool:
        """Whether to save now: after `every_seconds` (0: always), or later where saving would cost too much."""
        return not self.every_seconds or time.monotonic() - self._saved_at >= max(
            self.every_seconds, self._took / LARGEST_SHARE
        )

    def save(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace the saved state; a kill in the middle leaves the one before."""
        began = time.monotonic()
        metadata = {"fingerprint": self.fingerprint, "values": json.dumps(values)}
        with whole_file(self.path) as scratch:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, scratch, metadata=metadata)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began

    def load(self) -> Snapshot | None:
        """The saved state, or None where there is none that belongs to this training."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
                if metadata["fingerprint"] != self.fingerprint:
                    log.warning("%s belongs to other settings, data or code; it is not used", self.path)
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except SafetensorError as error:
            log.warning("%s cannot be read (%s); the training begins anew", self.path, error)
            return None
        return Snapshot(tensors, json.loads(metadata["values"]))

    def delete_the_rest(self) -> None:
        """Remove what lies beside the state in its folder, once the outputs are in their place.

        The state itself stays: until Snakemake has recorded the outputs, a kill has the training done again. The step
        evaluate_model deletes it (see `selfloop.jobs.steps`).
        """
        for path in self.folder.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self.path:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # the state is there
            self.folder.rmdir()


@contextmanager
def raise_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether SIGTERM arrived since; the signal itself interrupts nothing."""
    arrived = False

    def note(*_: object) -> None:
        nonlocal arrived
        arrived = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: arrived
    finally:
        signal.signal(signal.SIGTERM, before)
