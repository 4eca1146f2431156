"""Metrics of sampled images against the real ones, in the principal components of the real train images ("eigenfaces").

The space needs no download and no training: it is the best linear encoder of the real train split, the same for all
models, seeds and iterations of a study (Turk & Pentland 1991). Distances in it are root mean square differences of
pixels, but for what lies outside of the leading components.
"""

from dataclasses import dataclass

import numpy as np

from selfloop.errors import UserError

COMPONENTS = 64
ROWS_PER_COMPONENT = 4  # minimum number of real images per component
NEIGHBOURS = 3  # k of precision and recall, as recommended by Kynkäänniemi et al. (2019)
CLUSTERS = 32
KERNEL_ROWS = 1_000  # images of the Vendi score, whose kernel is [rows, rows]
BLOCK = 1_000  # rows of distances in memory at a time
MIN_BANDWIDTH = 1e-3  # for pixels in [-1, 1]; a gray level is eight times as much
FLOOR = 1e-12  # minimum variance, relative to the mean real one


@dataclass(frozen=True)
class Space:
    """An affine map from images to features.

    Attributes:
        origin: the mean image, [values].
        directions: orthogonal columns, [values, features].
        variance: explained fraction of the real images' variance.
    """

    origin: np.ndarray
    directions: np.ndarray
    variance: float

    def features(self, images: np.ndarray) -> np.ndarray:
        """float64 [rows, features] of uint8 images [rows, bands, size, size]."""
        flat = images.reshape(len(images), -1)
        blocks = np.array_split(flat, max(1, len(flat) // 1000))  # bounds float64 pixels to 1,000 images
        return np.concatenate([(_pixels(block) - self.origin) @ self.directions for block in blocks])


def space_of(images: np.ndarray) -> Space:
    """The principal components of real images, uint8 [rows, bands, size, size].

    Scaled by 1/√values, so that distances are root mean square differences of pixels in [-1, 1]. Directions with
    negligible variance are dropped. By eigenvectors of the smaller of both Gram matrices; scikit-learn's PCA would
    compute a full SVD.

    Raises:
        UserError: the images are all alike.
    """
    pixels = _pixels(images.reshape(len(images), -1))
    origin = pixels.mean(axis=0)
    centred = pixels - origin
    rows, values = centred.shape
    if rows <= values:
        spectrum, vectors = np.linalg.eigh(centred @ centred.T)
        directions = centred.T @ vectors
    else:
        spectrum, directions = np.linalg.eigh(centred.T @ centred)
    if spectrum.max() <= 1e-9:
        raise UserError("the real images are all alike; there is nothing to compare samples with.")
    kept = max(1, min(COMPONENTS, rows // ROWS_PER_COMPONENT))
    order = np.argsort(spectrum)[::-1][:kept]
    order = order[spectrum[order] > 1e-6 * spectrum[order[0]]]
    chosen = directions[:, order]
    chosen = chosen / np.maximum(np.linalg.norm(chosen, axis=0), 1e-12) / np.sqrt(values)
    share = spectrum[order].sum() / max(spectrum.clip(0).sum(), 1e-12)
    return Space(origin, chosen, float(share))


def _pixels(flat: np.ndarray) -> np.ndarray:
    return flat.astype(np.float64) / 127.5 - 1.0


def spread(sampled: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Spread of sampled features [rows, features] relative to the real ones.

    Returns:
        covariance_trace_ratio: ratio of total variances.
        covariance_log_determinant_ratio: log ratio of determinants, sensitive to a single lost direction. Variances
        below
            `FLOOR` count as that.
    """
    ours, theirs = (np.cov(features.T).reshape(features.shape[1], -1) for features in (sampled, real))
    floor = FLOOR * np.trace(theirs) / len(theirs)
    logs = [np.log(np.maximum(np.linalg.eigvalsh(covariance), floor)).sum() for covariance in (ours, theirs)]
    return {
        "covariance_trace_ratio": float(np.trace(ours) / np.trace(theirs)),
        "covariance_log_determinant_ratio": float(logs[0] - logs[1]),
    }


def vendi_score(features: np.ndarray, bandwidth: float) -> float:
    """The effective number of distinct images (Friedman & Dieng 2023): exp of the entropy of the kernel's eigenvalues.

    The kernel is exp(-distance²/(2·bandwidth²)), divided by the number of rows: n equal images score 1, n dissimilar
    ones n. The bandwidth is at least `MIN_BANDWIDTH`, since a median distance is 0 where most pairs are equal.
    """
    bandwidth = max(bandwidth, MIN_BANDWIDTH)
    kernel = np.exp(-_squared_distances(features, features) / (2 * bandwidth**2)) / len(features)
    values = np.linalg.eigvalsh(kernel)
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def median_distance(features: np.ndarray) -> float:
    """The median distance over pairs of rows."""
    upper = np.triu_indices(len(features), k=1)
    return float(np.sqrt(np.median(_squared_distances(features, features)[upper])))


def precision_and_recall(sampled: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019).

    The fraction of sampled images within the real manifold and vice versa; a manifold is the union of balls around its
    points with the radius of their third nearest neighbour.
    """
    return {"precision": _within(sampled, real), "recall": _within(real, sampled)}


def _within(points: np.ndarray, others: np.ndarray) -> float:
    neighbour = min(NEIGHBOURS, len(others) - 1)
    radii = np.concatenate(
        [
            np.partition(_squared_distances(block, others), neighbour, axis=1)[:, neighbour]  # the 0th is itself
            for block in _blocks(others)
        ]
    )
    return float(np.concatenate([(_squared_distances(b, others) <= radii).any(axis=1) for b in _blocks(points)]).mean())


def _blocks(features: np.ndarray) -> list[np.ndarray]:
    return np.array_split(features, -(-len(features) // BLOCK))


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares: np.ndarray = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return squares.clip(0.0)
