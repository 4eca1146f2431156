"""Measures of the profile where rows are vectors: sampled rows beside the moments and tails of held-out real ones."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import gammaincinv

from selfloop.data.profile_rows import Link, Params, kept, rows, write_profile
from selfloop.domains.vectors import Array, read_rows
from selfloop.jobs.job import Job

TAIL = 0.05  # share of real rows
FLOOR = 1e-12  # least variance, in the real one's


@dataclass(frozen=True)
class Real:
    """Real rows to compare with.

    Attributes:
        mean: (d,).
        whitening: W (d, k), for the k directions in which real rows vary: (x - mean) W has unit covariance.
        radius: in it, the distance from the mean beyond which `tail` of the real rows are.
        tail: that share.
    """

    mean: Array
    whitening: Array
    radius: float
    tail: float

    @property
    def itself(self) -> Mapping[str, float]:
        """The measures of the real distribution."""
        return {"log_variance": 0.0, "covariance_trace_ratio": 1.0, "tail_mass": self.tail, "mean_shift": 0.0}


def real_of(test: Array, normal: bool) -> Real:
    """What held-out rows (n, d) say of the real distribution.

    Args:
        test: the rows.
        normal: whether tails are those of the normal distribution with the rows' mean and covariance, or the rows' own.
    """
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(test.T, bias=True)))
    varied = values > 1e-9 * values[-1]
    mean, W = test.mean(axis=0), vectors[:, varied] / np.sqrt(values[varied])
    if normal:
        # The quantile of a chi-square distribution; to import scipy.stats takes longer than the whole step.
        return Real(mean, W, float(2 * gammaincinv(W.shape[1] / 2, 1 - TAIL)) ** 0.5, TAIL)
    distances = np.linalg.norm((test - mean) @ W, axis=1)
    radius = float(np.quantile(distances, 1 - TAIL))
    return Real(mean, W, radius, float((distances > radius).mean()))


def measures(sampled: Array, real: Real) -> dict[str, float]:
    """Of sampled rows (n, d), in the metric of the real covariance.

    Returns:
        log_variance: the mean over directions of the logarithm of the variance, that is of the ratio of determinants;
        covariance_trace_ratio: the mean variance; tail_mass: the share of rows farther from their own mean than all but
        `Real.tail` of the real rows are from theirs; mean_shift: the squared distance of the means, per direction.
    """
    own = (sampled - real.mean) @ real.whitening
    mean = own.mean(axis=0)
    variances = np.linalg.eigvalsh(np.atleast_2d(np.cov(own.T)))
    return {
        "log_variance": float(np.log(np.maximum(variances, FLOOR)).mean()),
        "covariance_trace_ratio": float(variances.mean()),
        "tail_mass": float((np.linalg.norm(own - mean, axis=1) > real.radius).mean()),
        "mean_shift": float((mean**2).mean()),
    }


def successive(error: Array, before: Array) -> dict[str, float]:
    """How much of an error (d,) the next one has.

    Returns:
        kappa: u_n·u_{n-1}/‖u_{n-1}‖²; kappa_weight: ‖u_{n-1}‖², by which means over iterations are weighted; cosine: of
        the two. NaN where there is no earlier error.
    """
    square, both = float(before @ before), float(error @ before)
    lengths = square * float(error @ error)
    return {
        "kappa": both / square if square > 0 else float("nan"),
        "kappa_weight": square,
        "cosine": both / lengths**0.5 if lengths > 0 else float("nan"),
    }


def run(job: Job[Params], normal: bool, mean_of: Callable[[Path], Array]) -> None:
    """Compare each part with the real test rows, and the error of its model's mean with that of the model before it.

    Args:
        job: its inputs are train and test.
        normal: as `real_of` has it.
        mean_of: the mean (d,) of the model in a checkpoint.
    """
    real = real_of(read_rows(Path(job.input["test"])), normal)
    errors: dict[str, Array | None] = {}

    def values(link: Link) -> Iterator[dict[str, object]]:
        found = measures(read_rows(Path(link.part)), real)
        checkpoint = kept(job, link)
        error = None if checkpoint is None else (mean_of(checkpoint) - real.mean) @ real.whitening
        before = None if link.previous is None else errors[link.previous]  # the part before is measured before
        errors[link.part] = error
        if error is not None and before is not None:
            found |= successive(error, before)
        return rows(link, found, real.itself)

    write_profile(job, (row for link in job.params.links for row in values(link)))
