"""A fixed space to compare data sets in: the principal components of the real train images ("eigenfaces").

It needs no download and no training: it is the best linear encoder of the real train split, the same for all models,
seeds and iterations of a study (Turk & Pentland 1991). Distances in it are root mean square differences of pixels, but
for what lies outside of the leading components.
"""

from dataclasses import dataclass

import numpy as np

from selfloop.errors import UserError

COMPONENTS = 64
ROWS_PER_COMPONENT = 4  # fewer components where there are not so many real images for each


@dataclass(frozen=True)
class Space:
    """An affine map from images to features.

    Attributes:
        origin: the mean image, [values].
        directions: orthogonal columns, [values, features].
        variance: share of the real images' variance that the features hold.
    """

    origin: np.ndarray
    directions: np.ndarray
    variance: float

    def features(self, images: np.ndarray) -> np.ndarray:
        """float64 [rows, features] of uint8 images [rows, bands, size, size]."""
        flat = images.reshape(len(images), -1)
        blocks = np.array_split(flat, max(1, len(flat) // 1000))  # so that float64 pixels are of 1,000 images at once
        return np.concatenate([(_pixels(block) - self.origin) @ self.directions for block in blocks])


def space_of(images: np.ndarray) -> Space:
    """The space of real images, uint8 [rows, bands, size, size].

    Directions are scaled by 1/√values, so that a distance of 1 is a root mean square difference of 1 in pixels that go
    from -1 to 1. Directions along which the real images hardly vary are left out.

    Raises:
        UserError: the images are all alike.
    """
    pixels = _pixels(images.reshape(len(images), -1))
    origin = pixels.mean(axis=0)
    centred = pixels - origin
    # Eigenvectors of the smaller of the two products; both have the same eigenvalues.
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
