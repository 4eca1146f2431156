"""A job of a rule as a JSON file, from which its step runs without Snakemake."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class JobSpec:
    """One job.

    Attributes:
        rule, module: its rule, and the module whose `run` does the work.
        folder: the working folder; paths are relative to it.
        input, output: paths by name.
        params: everything that the result depends on besides the inputs, as JSON values.
        threads, gpus, processes: what it may use in total.
        micro_batch: rows that a training computes at once, per process; None for all.
        every_seconds: seconds between resume checkpoints.
        log: its log.
        began: when the job began, in seconds since the epoch.
    """

    rule: str
    module: str
    folder: str
    input: Mapping[str, str | Sequence[str]]
    output: Mapping[str, str | Sequence[str]]
    params: Mapping[str, object]
    threads: int
    gpus: int
    processes: int
    every_seconds: float
    log: str
    began: float
    micro_batch: int | None = None

    @property
    def file(self) -> Path:
        """The job's file: beside its log, while it runs and after it has failed."""
        return spec_file(Path(self.folder, self.log))

    def save(self) -> Path:
        """Write the job to its file, atomically.

        Raises:
            OSError: it cannot be written, as on a full disk.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.file.with_name(f".{self.file.name}.partial")
        try:
            scratch.write_text(self.to_json(), encoding="utf-8")
            scratch.replace(self.file)
        finally:  # after an error; otherwise it has been renamed
            scratch.unlink(missing_ok=True)
        return self.file

    def to_json(self) -> str:
        """The job as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "JobSpec":
        """The inverse of `to_json`.

        Raises:
            ValueError, TypeError: it is not a job.
        """
        return cls(**json.loads(text))


def spec_file(log: Path) -> Path:
    """The file of the job with this log."""
    return log.with_suffix(".job.json")
