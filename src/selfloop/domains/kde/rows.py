"""The real points: made by scikit-learn, or normal."""

import numpy as np

from selfloop.domains.kde.config import Data
from selfloop.domains.vectors import Array
from selfloop.identity import digest, stream

CENTRES = ((-4.0, 0.0), (0.0, 4.0), (4.0, -4.0))
NOISE = 0.1  # of moons and circles, whose radius is 1, and of the roll, whose is 4 to 14


def real_rows(data: Data) -> tuple[Array, Array, Array]:
    """The real rows to train on, those to test on and those in reserve, (rows, d) each."""
    identity = digest(data.without("reserve").plain)
    counts = {"rows": data.rows, "test rows": data.test_rows, "reserve rows": round(data.reserve * data.rows)}
    train, test, reserve = (points(data, count, stream(identity, purpose)) for purpose, count in counts.items())
    return train, test, reserve


def points(data: Data, count: int, seed: int) -> Array:
    """Points of the distribution, (count, d)."""
    if data.source == "normal" or not count:
        return np.random.default_rng(seed).standard_normal((count, data.dimension or 1))
    from sklearn import datasets

    state = seed % 2**32  # as scikit-learn takes them
    if data.source == "blobs":
        return np.asarray(datasets.make_blobs(count, centers=np.array(CENTRES), random_state=state)[0])
    if data.source == "moons":
        return np.asarray(datasets.make_moons(count, noise=NOISE, random_state=state)[0])
    if data.source == "circles":
        return np.asarray(datasets.make_circles(count, noise=NOISE, factor=0.5, random_state=state)[0])
    return np.asarray(datasets.make_swiss_roll(count, noise=NOISE, random_state=state)[0])
