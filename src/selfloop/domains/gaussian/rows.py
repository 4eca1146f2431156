"""The real rows: drawn from N(0, I), or packaged."""

import numpy as np

from selfloop.domains.gaussian.config import Data
from selfloop.domains.vectors import Array
from selfloop.identity import digest, stream
from selfloop.inputs import packaged


def real_rows(data: Data) -> tuple[Array, Array, Array]:
    """The real rows to train on, those to test on and those in reserve, (rows, d) each.

    Of N(0, I) the test rows are ±√d along each axis: their mean and covariance are the distribution's own, so that
    measurements on them have no sampling error.
    """
    if data.source == "packaged":
        assert data.name is not None
        size = data.dimension, data.rows, data.test_fraction
        return packaged.split(data.name, *size, int(data.seed), data.reserve)
    assert data.dimension is not None and data.rows is not None
    d = data.dimension
    identity, counts = digest(data.without("reserve").plain), (data.rows, round(data.reserve * data.rows))
    generators = [np.random.default_rng(stream(identity, purpose)) for purpose in ("rows", "reserve rows")]
    train, reserve = (own.standard_normal((count, d)) for own, count in zip(generators, counts, strict=True))
    return train, d**0.5 * np.concatenate([np.eye(d), -np.eye(d)]), reserve
