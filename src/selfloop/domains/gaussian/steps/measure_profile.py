"""Rule measure_profile: how the sampled rows of one seed's chains differ from the real distribution."""

from selfloop.data.profile_rows import Params
from selfloop.domains import vector_profile
from selfloop.domains.gaussian.model import load_checkpoint
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Compare each part with the normal distribution that has the mean and covariance of the test rows."""
    vector_profile.run(job, normal=True, mean_of=lambda checkpoint: load_checkpoint(checkpoint).mean)
