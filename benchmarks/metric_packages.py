"""Metrics of the profile beside those of packages that compute the same, on rows and words drawn by seed.

    pip install --no-deps --target packages prdc==0.2 vendi-score==0.0.3 lexicalrichness==0.5.1
    PYTHONPATH=packages python benchmarks/metric_packages.py

Precision and recall (Naeem et al.'s prdc), the Vendi score (its authors' package), MTLD (lexicalrichness), and the Zipf
exponent and Fréchet distance by SciPy. Exits with 1 where a value differs by more than 1e-6.

docs/metrics.md says why they are no dependencies.
"""

import sys
from collections.abc import Iterator

import numpy as np
from scipy.linalg import sqrtm
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.stats import zipfian

from selfloop.domains.image.metrics import precision_and_recall, vendi_score
from selfloop.domains.image.profile import frechet_distance
from selfloop.domains.text.profile.words import TTR, mtld, zipf_exponent

LARGEST = 1e-6
SEEDS, ROWS, FEATURES, WORDS, BANDWIDTH = 5, 300, 16, 3000, 3.0


def compared(seed: int) -> Iterator[tuple[str, float, float]]:
    """Of data drawn by seed: a metric's name, its value here and that of a package."""
    from lexicalrichness import LexicalRichness
    from prdc import compute_prdc
    from vendi_score import vendi

    generator = np.random.default_rng(seed)
    real = generator.normal(size=(ROWS, FEATURES))
    sampled = 0.8 * generator.normal(size=(ROWS, FEATURES)) + 0.1
    ours, theirs = precision_and_recall(sampled, real), compute_prdc(real, sampled, nearest_k=3)
    for name in ("precision", "recall"):
        yield name, ours[name], theirs[name]
    kernel = np.exp(-cdist(sampled, sampled, "sqeuclidean") / (2 * BANDWIDTH**2))
    yield "Vendi score", vendi_score(sampled, BANDWIDTH), vendi.score_K(kernel)
    shift, first, second = sampled.mean(axis=0) - real.mean(axis=0), np.cov(sampled.T), np.cov(real.T)
    frechet = shift @ shift + np.trace(first + second) - 2 * np.trace(sqrtm(first @ second)).real
    yield "Fréchet distance", frechet_distance(sampled, real), float(frechet)
    words = [f"w{word % 300}" for word in generator.zipf(1.5, WORDS).tolist()]
    text = LexicalRichness(" ".join(words), preprocessor=None, tokenizer=str.split)
    yield "MTLD", mtld(words), text.mtld(threshold=TTR)
    counts = np.sort(np.unique(words, return_counts=True)[1])[::-1]
    ranks = np.arange(1, len(counts) + 1)
    found = minimize_scalar(
        lambda s: -(counts * zipfian.logpmf(ranks, s, len(counts))).sum(), bounds=(0.1, 5), options={"xatol": 1e-10}
    )
    yield "Zipf exponent", zipf_exponent(words), float(found.x)


def main() -> None:
    """Print the largest difference of every metric."""
    largest: dict[str, float] = {}
    for seed in range(SEEDS):
        for name, ours, theirs in compared(seed):
            largest[name] = max(largest.get(name, 0.0), abs(ours - theirs))
    for name, difference in largest.items():
        print(f"{name:17} differs by at most {difference:.1e}")
    sys.exit(max(largest.values()) > LARGEST)


if __name__ == "__main__":
    main()
