"""Rule measure_baseline: a predictor that has seen nothing can produce no type."""

from selfloop.data.measurements import write_measurements
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Write that all test types are lost."""
    write_measurements(job, {"test-baseline": {"lost_types": 1.0}})
