"""How sampled images differ from real ones: values of other implementations, and made samples of every kind."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import sqrtm

from selfloop.domains.image import metrics
from selfloop.domains.image.domain import DOMAIN
from selfloop.domains.image.profile import Images, Mirror, frechet_distance, high_share, occupied, radial_power

SIZE, MODES = 8, 6


def features() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.normal(size=(60, 5)), 0.7 * generator.normal(size=(60, 5)) + 0.1


def test_precision_and_recall_are_those_of_prdc() -> None:
    """Naeem et al.'s package, version 0.2, with nearest_k=3."""
    real, sampled = features()
    assert metrics.precision_and_recall(sampled, real) == pytest.approx({"precision": 55 / 60, "recall": 44 / 60})


def test_the_vendi_score_is_that_of_its_authors() -> None:
    """Friedman and Dieng's package, version 0.0.3: vendi.score_K of a Gaussian kernel."""
    assert metrics.vendi_score(features()[1], bandwidth=1.3) == pytest.approx(12.542985182298686, abs=1e-6)


def test_the_frechet_distance_is_by_its_definition() -> None:
    one, other = features()
    first, second = np.cov(one.T), np.cov(other.T)
    shift = one.mean(axis=0) - other.mean(axis=0)
    root = np.trace(sqrtm(first @ second)).real
    assert frechet_distance(one, other) == pytest.approx(shift @ shift + np.trace(first + second) - 2 * root)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_modes_are_counted_as_they_are_occupied() -> None:
    centres = 50 * np.eye(6)
    one, three = (occupied(np.repeat(centres[:count], 40, axis=0) + 0.01, centres) for count in (1, 3))
    assert (one, three) == (pytest.approx(1), pytest.approx(3))
    assert occupied(np.repeat(centres[:2], [30, 10], axis=0), centres) == pytest.approx(np.exp(0.5623351446))


def test_a_wave_has_its_power_at_its_radius() -> None:
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16) * np.ones((16, 1))
    power = radial_power(wave[None, None])
    assert max(power, key=power.__getitem__) == 3.0
    assert sum(value > 1e-12 for value in power.values()) == 1
    assert high_share(wave[None, None]) == pytest.approx(0)
    fine = np.cos(2 * np.pi * 6 * np.arange(16) / 16) * np.ones((16, 1))
    assert high_share(fine[None, None]) == pytest.approx(1)


def draw(seed: int, modes: int = MODES, noise: float = 0.05, artifact: float = 0.0, rows: int = 160) -> Images:
    """Smooth images of some modes, with variation, white noise, and a pattern that all have."""
    generator = np.random.default_rng(seed)
    fixed = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = np.stack([np.cos(2 * np.pi * (x * a + y * b) + c) for a, b, c in fixed.uniform(-1, 1, (MODES + 8, 3))])
    chosen = generator.integers(modes, size=rows)
    images = 0.4 * waves[chosen] + np.einsum("rk,kyx->ryx", 0.08 * generator.normal(size=(rows, 8)), waves[MODES:])
    images = images + noise * generator.normal(size=images.shape)
    images = images + artifact * np.where((x + y) * SIZE % 2 < 1, 1.0, -1.0)
    return (127.5 * (images.clip(-1, 1) + 1)).astype(np.uint8)[:, None]


KINDS: dict[str, list[dict[str, float]]] = {
    "modal collapse": [{"modes": 6}, {"modes": 4}, {"modes": 1}],
    "towards uniformity": [{"noise": 0.05}, {"noise": 0.2}, {"noise": 0.4}],
    "amplified": [{"artifact": 0.05}, {"artifact": 0.1}, {"artifact": 0.2}],
}


@pytest.fixture(scope="module")
def mirror() -> Mirror:
    return Mirror(draw(1000, rows=320), draw(1001))


Kind = list[dict[str, float]]


def chains(mirror: Mirror, kind: Kind) -> dict[int, list[tuple[dict[str, object], dict[str, object]]]]:
    found = {}
    for seed in (0, 1, 2):
        samples = [mirror.of_images(draw(10 * seed + n + 1, **how)) for n, how in enumerate(kind)]  # type: ignore[arg-type]
        found[seed] = [
            (dict(mirror.of(own)) | (dict(mirror.carried(past, own)) if past else {}), dict(mirror.itself))
            for past, own in zip([None, *samples[:-1]], samples, strict=True)
        ]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_images_is_named_and_no_other(
    kind: str, mirror: Mirror, happening: Callable[..., set[str]]
) -> None:
    assert happening(DOMAIN, chains(mirror, KINDS[kind])) == {kind}


def test_images_that_stay_as_they_are_while_losses_rise_only_blow_up(
    mirror: Mirror, happening: Callable[..., set[str]]
) -> None:
    assert happening(DOMAIN, chains(mirror, [{}, {}, {}]), (1.0, 1.3, 1.6)) == {"blows up"}


def test_copies_of_train_images_lie_nearer_to_them_than_test_images_do(mirror: Mirror) -> None:
    copies = mirror.of(mirror.of_images(draw(1000, rows=320)[:160]))
    assert copies["nearest_train_distance"] == pytest.approx(0, abs=1e-6)
    assert mirror.itself["nearest_train_distance"] > 0.01  # type: ignore[operator]
