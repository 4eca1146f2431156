"""Rule measure_profile: how the sampled rows of one seed's chains differ from real ones that no chain sees."""

from pathlib import Path

from selfloop.data.profile_rows import Params
from selfloop.domains import vector_profile
from selfloop.domains.kde.model import load_checkpoint
from selfloop.domains.vectors import Array
from selfloop.jobs.job import Job


def mean_of(checkpoint: Path) -> Array:
    """The mean (d,) of a density."""
    model = load_checkpoint(checkpoint)
    mean: Array = model.weights @ model.points
    return mean


def run(job: Job[Params]) -> None:
    """Compare each part with the test rows."""
    vector_profile.run(job, normal=False, mean_of=mean_of)
