"""What a rule hands to a step."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from selfloop.checksums import recorded
from selfloop.identity import digest
from selfloop.jobs.device import Device


class Did(Protocol):
    """Notes how many units, such as tokens, a step has trained or sampled, and in how many seconds.

    Without seconds, they took all of the step's work. The page shows the throughput.
    """

    def __call__(self, count: float, unit: str, seconds: float | None = None) -> None:
        """Note it."""


class Uses(Protocol):
    """Notes in the log and the record of a step what it computes on (see `selfloop.training.devices.note`)."""

    def __call__(self, device: Device) -> None:
        """Note it."""


class StepParams(BaseModel):
    """What a step takes of its rule's params; a subclass names it. The rest is there for the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="allow")


P_co = TypeVar("P_co", bound=StepParams, covariant=True)


@dataclass(frozen=True)
class Job(Generic[P_co]):
    """One step's inputs, outputs and params.

    Attributes:
        input, output: paths by name.
        params: everything that the result depends on besides the inputs; a change of it reruns the step.
        threads: CPU threads that the step may use, per process.
        gpus: GPUs that the step asked for; 0 where it takes what there is.
        micro_batch: rows that a training computes at once, per process; None for its whole share of the batch.
        every_seconds: seconds between resume checkpoints; they cannot change results.
        log: prose for people.
        progress: a `tqdm` in the step's log, which the record follows.
        did: notes in the step's record how much it did.
        uses: notes there what it computes on.
    """

    input: Mapping[str, Any]
    output: Mapping[str, Any]
    params: P_co
    threads: int = 1
    gpus: int = 0
    micro_batch: int | None = None
    every_seconds: float = 60.0
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("selfloop"))
    progress: Callable[..., Any] = lambda *_, **__: None
    did: Did = lambda *_, **__: None
    uses: Uses = lambda device: None

    def fingerprint(self) -> str:
        """Names everything that the step's result depends on: settings, code, and the inputs' paths and checksums."""
        paths = [path for value in self.input.values() for path in ([value] if isinstance(value, str) else value)]
        files = {path: {name: entry.checksum for name, entry in recorded(Path(path)).items()} for path in paths}
        return digest([self.params.model_dump(mode="json"), files])
