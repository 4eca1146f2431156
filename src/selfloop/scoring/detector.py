"""A detector of synthetic rows: a logistic regression on features, which scores no row that it was fitted to."""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from selfloop.identity import stream

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = "Floats | csr_matrix"  # features (rows, features)
FOLDS = 4
MOST_ROWS = 20_000  # of either kind that a fold is fitted to
MOST_STEPS = 200
PRODUCTS = 40  # the most coordinates of points whose products are features


def detector_scores(sampled: Rows, real: Rows) -> Floats:
    """The log odds of each sampled row to be real, (rows,): the higher, the more it looks real.

    Sampled rows are divided into folds, and those of a fold are scored by a regression that was fitted to the other
    folds and to real rows, both kinds with the same total weight. Features are divided by their largest magnitude.

    Args:
        sampled, real: features (rows, features).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler, StandardScaler

    if not isinstance(sampled, np.ndarray) and not isinstance(
        real, np.ndarray
    ):  # of hashed words: most columns are of none
        used = np.unique(np.concatenate([sampled.indices, real.indices]))
        sampled, real = sampled[:, used], real[:, used]
    rows = sampled.shape[0]
    generator = np.random.default_rng(stream("detector", "folds"))
    fold = generator.permutation(rows) % min(FOLDS, rows)
    real = real[np.sort(generator.permutation(real.shape[0])[:MOST_ROWS])]
    scores = np.zeros(rows)
    for own in range(int(fold.max(initial=-1)) + 1):
        others = np.flatnonzero(fold != own)[:MOST_ROWS]
        if not len(others):
            break  # a single row
        dense = isinstance(sampled, np.ndarray)
        fitted = make_pipeline(
            StandardScaler() if dense else MaxAbsScaler(),
            LogisticRegression(class_weight="balanced", max_iter=MOST_STEPS),
        )
        labels = np.repeat([1, 0], [real.shape[0], len(others)])
        fitted.fit(_stacked(real, sampled[others]), labels)
        scores[fold == own] = fitted.decision_function(sampled[fold == own])
    return scores


def _stacked(one: Rows, other: Rows) -> Rows:
    if isinstance(one, np.ndarray):
        return np.concatenate([one, other])
    from scipy.sparse import vstack

    return vstack([one, other])


def of_points(X: Floats) -> Floats:
    """Features of points (rows, d): coordinates, their squares and, of few coordinates, their products."""
    if X.shape[1] > PRODUCTS:
        return np.concatenate([X, X**2], axis=1)
    one, other = np.triu_indices(X.shape[1])
    return np.concatenate([X, X[:, one] * X[:, other]], axis=1)


def of_words(rows: list[list[str]]) -> Rows:
    """Features of rows of words: whether each occurs, hashed to 2¹⁸ columns; a sparse matrix."""
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(2**18, input_type="string", alternate_sign=False)
    found = hasher.transform([set(row) for row in rows])
    found.data[:] = np.minimum(found.data, 1.0)
    return found.tocsr()
