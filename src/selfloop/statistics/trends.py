"""Does the headline metric rise? Slopes over iterations, with a confidence interval over seeds."""

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # scipy.stats has the same, and takes ten times as long to import


def slope(iterations: pd.Series, values: pd.Series) -> float:
    """Least-squares slope per iteration; NaN values are left out, and fewer than two iterations have no slope (NaN)."""
    kept = values.notna()
    x, y = iterations[kept].to_numpy(float), values[kept].to_numpy(float)
    if len(set(x)) < 2:
        return math.nan
    x = x - x.mean()
    return float(np.dot(x, y) / np.dot(x, x))


def slopes(table: pd.DataFrame) -> pd.Series:
    """`slope` of every row of a table whose columns are iterations and whose rows are, for example, seeds."""
    y = table.to_numpy(float)
    x = np.where(np.isnan(y), np.nan, table.columns.to_numpy(float))
    several = np.isfinite(y).sum(axis=1) >= 2
    found = np.full(len(table), np.nan)
    x, y = x[several], y[several]
    x = x - np.nanmean(x, axis=1, keepdims=True)
    found[several] = np.nansum(x * y, axis=1) / np.nansum(x * x, axis=1)
    return pd.Series(found, index=table.index)


def mean_interval(values: pd.Series, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values (one per seed) and the ends of its confidence interval by Student's t.

    NaN values are left out. With fewer than two values the ends are NaN: one seed says nothing about the spread.
    """
    kept = values.dropna().to_numpy(float)
    if len(kept) == 0:
        return math.nan, math.nan, math.nan
    mean = float(kept.mean())
    if len(kept) == 1:
        return mean, math.nan, math.nan
    half = float(stdtrit(len(kept) - 1, (1 + confidence) / 2)) * float(kept.std(ddof=1)) / math.sqrt(len(kept))
    return mean, mean - half, mean + half
