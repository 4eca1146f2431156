"""Measures of the image domain's profile: sampled images beside as many real ones that no chain is trained on.

The real test images are read in two halves, and samples in two pieces of as many images. Each piece is compared with
one half, and values are means over the two. So real images are measured as samples are: one half against the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2, vq
from scipy.ndimage import laplace
from scipy.spatial import cKDTree

from selfloop.domains.image import metrics
from selfloop.domains.image.metrics import Space, space_of
from selfloop.identity import stream

MOST_IMAGES = 2_000  # of the real ones
LEADING = 16  # components of neighbourhoods and determinants: with all 64, hardly an image is any other's neighbour
MAPPED = 60  # images of the map
HIGH = 0.5  # of the highest frequency

Images = npt.NDArray[np.uint8]  # [rows, bands, size, size]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampled:
    """Images and their features.

    Attributes:
        images: uint8 [rows, bands, size, size].
        features: in the real images' components, [rows, components].
    """

    images: Images
    features: Floats


class Mirror:
    """Real images to compare samples with.

    Args:
        train: real train images; they span the space, and tell which samples are copies.
        test: real test images, which no chain is trained on.
    """

    def __init__(self, train: Images, test: Images) -> None:
        self.space: Space = space_of(train)
        self.train = self.space.features(train)
        self.real = self.of_images(test)
        self.rows = len(test) // 2
        bandwidth = metrics.median_distance(self.real.features[: metrics.KERNEL_ROWS])
        self.bandwidth = bandwidth / 2  # at the median itself, the score hardly moves
        count = min(metrics.CLUSTERS, max(1, len(train) // 5))
        generator = np.random.default_rng(stream("image profile", "clusters"))
        self.centres = kmeans2(self.train, count, minit="++", rng=generator)[0]
        self.neighbours = cKDTree(self.train)

    def of_images(self, images: Images) -> Sampled:
        """Images with their features."""
        return Sampled(images, self.space.features(images))

    @cached_property
    def halves(self) -> tuple[Floats, Floats]:
        """The features of every other real test image each, as many in both."""
        features = self.real.features
        return features[0::2][: self.rows], features[1::2][: self.rows]

    @cached_property
    def itself(self) -> Mapping[str, float | Mapping[float, float]]:
        """The measures of the real test images."""
        one, other = self.halves
        return {**self._compared((other, one)), **self._alone(self.real)}

    def of(self, sampled: Sampled) -> Mapping[str, float | Mapping[float, float]]:
        """Measures of samples.

        Returns:
            covariance_trace_ratio, covariance_log_determinant_ratio: to real images; the second one of the leading
            components, as a logarithm.
            log_variance: the second one by component, the logarithm of a geometric mean: a few directions with much of
            the variance do not decide it.
            effective_modes: exp of the entropy over clusters of real train images.
            vendi_score: at half the median distance of real images.
            precision, recall: Kynkäänniemi et al. (2019), in the leading components.
            frechet_distance: between Gaussians in the leading components, mean square difference of pixels.
            nearest_train_distance: mean over images, root mean square difference of pixels.
            laplacian_energy: mean square of the images' Laplacian, pixels in [-1, 1].
            outside_energy: mean square of what is outside the components of real images.
            power: by radius, in cycles per image: the mean power of the Fourier components there.
            high_frequency_share: of the power, that above half of the highest frequency.
            map_1, map_2: the first two components of the first images, by their place.
        """
        rows = self.rows
        pieces = sampled.features[:rows], sampled.features[rows : 2 * rows]
        if len(pieces[1]) < rows:  # a part with fewer images than the real test split
            pieces = sampled.features[0::2], sampled.features[1::2]
        shown = Sampled(sampled.images[: 2 * rows], sampled.features[: 2 * rows])
        return {**self._compared(pieces), **self._alone(shown)}

    def _compared(self, pieces: tuple[Floats, Floats]) -> dict[str, float]:
        found = [self._against(piece, half) for piece, half in zip(pieces, self.halves, strict=True)]
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}

    def _against(self, piece: Floats, half: Floats) -> dict[str, float]:
        lead, real = piece[:, :LEADING], half[:, :LEADING]
        determinants = metrics.spread(lead, real)["covariance_log_determinant_ratio"]
        return {
            "covariance_trace_ratio": metrics.spread(piece, half)["covariance_trace_ratio"],
            "covariance_log_determinant_ratio": determinants,
            "log_variance": determinants / lead.shape[1],
            "effective_modes": occupied(piece, self.centres),
            "vendi_score": metrics.vendi_score(piece[: metrics.KERNEL_ROWS], self.bandwidth),
            **metrics.precision_and_recall(lead, real),
            "frechet_distance": frechet_distance(lead, real),
        }

    def _alone(self, sampled: Sampled) -> dict[str, float | Mapping[float, float]]:
        pixels = sampled.images.astype(np.float64) / 127.5 - 1.0
        curvature = laplace(pixels, axes=(2, 3))
        flat = pixels.reshape(len(pixels), -1) - self.space.origin
        inside = sampled.features @ (self.space.directions * flat.shape[1]).T
        power = radial_power(pixels)
        return {
            "nearest_train_distance": float(self.neighbours.query(sampled.features)[0].mean()),
            "laplacian_energy": float(np.square(curvature).mean()),
            "outside_energy": float(np.square(flat - inside).mean()),
            "power": power,
            "high_frequency_share": high_share(pixels),
            "map_1": dict(enumerate(sampled.features[:MAPPED, 0].tolist())),
            "map_2": dict(enumerate(sampled.features[:MAPPED, min(1, sampled.features.shape[1] - 1)].tolist())),
        }

    def carried(self, before: Sampled, after: Sampled) -> Mapping[str, float]:
        """How much of one iteration's shift of the mean image the next one has.

        κ is the projection of the shift at n on that at n - 1, over the components, in units of that one's length. The
        noise of a mean of samples is part of its shift: the next model is trained on these samples. The noise of the
        real mean, which both shifts have, would draw κ towards 1; another half of the real train images is taken in
        each.

        Returns:
            kappa; kappa_weight: the square of the earlier shift; kappa_cosine: of the two shifts. NaN where no shift
            exceeds the noise of the real mean.
        """
        halves = [self.train[start::2].mean(axis=0) for start in (0, 1)]
        old, new = (each.features.mean(axis=0) for each in (before, after))
        products = np.zeros(3)
        for mine, other in (halves, halves[::-1]):
            shift = old - other
            products += [(new - mine) @ shift / 2, (old - mine) @ shift / 2, (new - mine) @ (new - other) / 2]
        across, earlier, later = map(float, products)
        return {
            "kappa": across / earlier if earlier > 0 else float("nan"),
            "kappa_weight": max(earlier, 0.0),
            "kappa_cosine": across / (earlier * later) ** 0.5 if min(earlier, later) > 0 else float("nan"),
        }


def occupied(features: Floats, centres: Floats) -> float:
    """Effective number of clusters that features occupy: exp of the entropy over clusters."""
    counts = np.bincount(vq(features, centres)[0])
    shares = counts[counts > 0] / len(features)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def frechet_distance(one: Floats, other: Floats) -> float:
    """Between two Gaussians with the means and covariances of features [rows, features] (Dowson & Landau 1982)."""
    first, second = np.atleast_2d(np.cov(one.T)), np.atleast_2d(np.cov(other.T))
    # The trace of the root of a product of covariances: its eigenvalues are real and not negative, but for rounding.
    roots = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0))
    shift = one.mean(axis=0) - other.mean(axis=0)
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * roots.sum())


def _spectrum(pixels: Floats) -> tuple[Floats, Floats]:
    """Mean power over images and bands, and its radius in cycles per image, each [size, size]."""
    size = pixels.shape[-1]
    centred = pixels - pixels.mean(axis=(2, 3), keepdims=True)
    power: Floats = np.square(np.abs(np.fft.fft2(centred))).mean(axis=(0, 1)) / size**4
    frequencies = np.fft.fftfreq(size, 1 / size)
    return power, np.hypot(frequencies[:, None], frequencies[None, :])


def radial_power(pixels: Floats) -> dict[float, float]:
    """The mean power by radius, 1 to half the size, cycles per image; of images [rows, bands, size, size]."""
    power, radii = _spectrum(pixels)
    rings = np.rint(radii).astype(np.int64)
    sums, counts = np.bincount(rings.ravel(), power.ravel()), np.bincount(rings.ravel())
    return {float(radius): float(sums[radius] / counts[radius]) for radius in range(1, pixels.shape[-1] // 2 + 1)}


def high_share(pixels: Floats) -> float:
    """Share of the power above `HIGH` of the highest frequency."""
    power, radii = _spectrum(pixels)
    total = power.sum()
    return float(power[radii > HIGH * pixels.shape[-1] / 2].sum() / total) if total > 0 else 0.0
