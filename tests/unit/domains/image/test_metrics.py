"""Spread, modes, precision and recall: on data whose answers are known."""

import numpy as np
import pytest

from selfloop.domains.image import metrics
from selfloop.domains.image.metrics import COMPONENTS, ROWS_PER_COMPONENT, space_of
from selfloop.errors import UserError

from .conftest import blobs


def normal(rows: int, dimensions: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimensions))


def test_the_spread_of_the_real_data_themselves_is_one() -> None:
    real = normal(200)
    assert metrics.spread(real, real) == pytest.approx(
        {"covariance_trace_ratio": 1.0, "covariance_log_determinant_ratio": 0.0}
    )


def test_half_the_deviation_is_a_quarter_of_the_variance_in_every_direction() -> None:
    real = normal(200)
    assert metrics.spread(5 + real / 2, real) == pytest.approx(
        {"covariance_trace_ratio": 0.25, "covariance_log_determinant_ratio": -4 * np.log(4)}
    )


def test_a_lost_direction_shows_in_the_determinant_and_identical_images_give_a_number() -> None:
    real = normal(200)
    flat = real * np.array([1, 1, 1, 1e-3])
    lost = metrics.spread(flat, real)
    assert lost["covariance_trace_ratio"] > 0.6
    assert lost["covariance_log_determinant_ratio"] == pytest.approx(np.log(1e-6), rel=1e-3)
    same = metrics.spread(np.zeros_like(real), real)
    assert same["covariance_trace_ratio"] == 0
    assert np.isfinite(same["covariance_log_determinant_ratio"])


def test_the_vendi_score_counts_what_is_different() -> None:
    far = 100 * np.eye(5)
    assert metrics.vendi_score(far, 1.0) == pytest.approx(5)
    assert metrics.vendi_score(np.repeat(far, 7, axis=0), 1.0) == pytest.approx(5)
    assert metrics.vendi_score(np.ones((30, 5)), 1.0) == pytest.approx(1)
    unequal = np.repeat(far[:2], [3, 1], axis=0)
    assert metrics.vendi_score(unequal, 1.0) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_the_vendi_score_is_that_of_the_kernels_definition() -> None:
    features = normal(40)
    distances = ((features[:, None] - features) ** 2).sum(axis=2)
    values = np.linalg.eigvalsh(np.exp(-distances / (2 * 0.7**2)) / 40)
    values = values[values > 1e-12]
    assert metrics.vendi_score(features, 0.7) == pytest.approx(np.exp(-(values * np.log(values)).sum()))
    assert metrics.median_distance(features) == pytest.approx(np.median(np.sqrt(distances[np.triu_indices(40, 1)])))


def test_the_vendi_score_counts_where_most_images_are_equal_and_their_median_distance_is_0() -> None:
    mostly = np.repeat(normal(5), [16, 1, 1, 1, 1], axis=0)
    assert metrics.median_distance(mostly) < 1e-6
    shares = np.array([16, 1, 1, 1, 1]) / 20
    expected = np.exp(-(shares * np.log(shares)).sum())
    for bandwidth in (0.0, metrics.median_distance(mostly)):
        assert metrics.vendi_score(mostly, bandwidth) == pytest.approx(expected)


def test_precision_and_recall_of_the_same_distribution_and_of_a_part_of_it() -> None:
    real, other = normal(600), normal(600, seed=1)
    both = metrics.precision_and_recall(other, real)
    assert both["precision"] > 0.8
    assert both["recall"] > 0.8
    core = metrics.precision_and_recall(0.2 * other, real)
    assert core["precision"] > 0.95
    assert core["recall"] < 0.2
    away = metrics.precision_and_recall(other + 100, real)
    assert away == {"precision": 0, "recall": 0}


def test_precision_and_recall_are_those_of_their_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 7)  # in blocks, as large sets are
    real, sampled = normal(25), 0.5 * normal(31, seed=1)

    def inside(points: np.ndarray, others: np.ndarray) -> float:
        distances = np.sqrt(((others[:, None] - others) ** 2).sum(axis=2))
        radii = np.sort(distances, axis=1)[:, 3]
        return float(np.mean([(np.sqrt(((point - others) ** 2).sum(axis=1)) <= radii).any() for point in points]))

    expected = {"precision": inside(sampled, real), "recall": inside(real, sampled)}
    assert metrics.precision_and_recall(sampled, real) == pytest.approx(expected)
    assert 0 < expected["recall"] < expected["precision"]


# --- the space -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [40, 400])
def test_the_space_holds_the_leading_principal_components(rows: int) -> None:
    """Held against a singular value decomposition, with fewer and with more images than pixels."""
    images = blobs(rows, size=8)
    space = space_of(images)
    kept = min(COMPONENTS, rows // ROWS_PER_COMPONENT)
    pixels = images.reshape(rows, -1) / 127.5 - 1.0
    centred = pixels - pixels.mean(axis=0)
    _, singular, right = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ right[:kept].T / np.sqrt(64)
    features = space.features(images)
    assert features.shape[1] <= kept
    assert np.abs(np.abs(features) - np.abs(expected[:, : features.shape[1]])).max() < 1e-6
    assert space.variance == pytest.approx((singular[:kept] ** 2).sum() / (singular**2).sum(), rel=1e-4)


def test_distances_are_root_mean_square_differences_of_pixels() -> None:
    images = blobs(400, size=4)
    features = space_of(images).features(images)
    pixels = images.reshape(400, -1) / 127.5 - 1.0
    expected = np.sqrt(((pixels[0] - pixels[1]) ** 2).mean())
    assert np.linalg.norm(features[0] - features[1]) == pytest.approx(expected, rel=1e-3)


def test_images_that_are_all_alike_make_no_space() -> None:
    with pytest.raises(UserError, match="all alike"):
        space_of(np.repeat(blobs(1), 20, axis=0))
