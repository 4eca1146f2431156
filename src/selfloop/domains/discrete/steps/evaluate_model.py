"""Rule evaluate_model: which types a model can produce, and its loss on the test rows."""

from pathlib import Path

from selfloop.data.measurements import write_measurements
from selfloop.domains.discrete.model import aligned, load_checkpoint, measured
from selfloop.domains.discrete.rows import read_counts
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Measure the model against the test split."""
    model = load_checkpoint(Path(job.input["checkpoint"]))
    found = measured(*aligned(model, read_counts(Path(job.input["test"]))))
    write_measurements(job, {"test": {name: float(value) for name, value in found.items()}})
