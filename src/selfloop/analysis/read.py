"""The two tidy tables of a study, and the selections that figures, tables and the page are made of."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import stdtrit

from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN
from selfloop.data.tidy import CHAIN, SERIES
from selfloop.errors import UserError

log = logging.getLogger(__name__)

REAL_DATA = "real data"  # where iteration 1 is shown once for all regimes


def read_tidy(path: Path | str, schema: pa.Schema) -> pd.DataFrame:
    """Open one of the tidy tables, with the columns of `METRICS` or `CURVES`.

    Raises:
        UserError: a column is missing.
    """
    names = pq.read_schema(path).names
    missing = [column for column in schema.names if column not in names]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; the file has {', '.join(names)}")
    frame: pd.DataFrame = pd.read_parquet(path, columns=schema.names)
    return frame


def regimes_in_order(names: Iterable[str]) -> list[str]:
    """Regimes as panels and columns show them: the built-in ones first, then the user's by name."""
    # A column has millions of rows where there are simulations.
    found = {str(name) for name in (names.unique() if isinstance(names, pd.Series) else names)}
    known = [name for name in (REAL_DATA, *BUILT_IN) if name in found]
    return known + sorted(found.difference(known))


def in_order(values: pd.Series) -> list[str]:
    """Distinct values in the order of the table, which is that of the config."""
    return [str(value) for value in values.drop_duplicates()]


def groups(rows: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Groups in the order of the table, which is that of the config."""
    for key, own in rows.groupby(keys, sort=False):
        yield tuple(map(str, key)), own


def select(frame: pd.DataFrame, domain: str, quantity: Quantity) -> pd.DataFrame:
    """Rows of one quantity in one domain, with two columns that name their line as briefly as possible.

    `label` is the model, with the experiment if several experiments of the domain train the same model; `series` adds
    the sampling if the domain has several. Values that are not finite become NaN, which is logged.

    Args:
        frame: metrics or learning curves.
        domain: the domain's name.
        quantity: what to select.

    Returns:
        the rows; none if the quantity has not been measured.

    Raises:
        UserError: a measurement is listed twice.
    """
    own = frame[frame["domain"] == domain]
    rows = own[(own["metric"] == quantity.metric) & (own["split"] == quantity.split)]
    identity = [*CHAIN.names, "step" if "step" in rows else "part"]
    twice = rows[rows.duplicated(identity)]
    if not twice.empty:
        raise UserError(
            f"{quantity.metric} ({quantity.split}) is listed more than once for {_describe(twice.head(1))}; "
            f"one value is allowed for each {', '.join(identity)}"
        )
    names = names_of(own)
    chains = list(zip(*(rows[name].tolist() for name in SERIES), strict=True))
    rows = rows.assign(
        label=[names[chain][0] for chain in chains],
        series=[names[chain][1] for chain in chains],
        value=rows["value"].where(np.isfinite(rows["value"].to_numpy(float))),
    )
    gone = rows[rows["value"].isna()]
    if not gone.empty:
        log.warning(
            "%s (%s): %d of %d values are not finite and are left out: %s",
            *(quantity.metric, quantity.split, len(gone), len(rows), _describe(gone)),
        )
    return rows


def names_of(rows: pd.DataFrame) -> dict[tuple[str, ...], tuple[str, str]]:
    """Of experiment, model and sampling: the label and the series."""
    chains = rows[SERIES].drop_duplicates()
    models = chains[["experiment", "model"]].drop_duplicates()["model"]
    shared, several = set(models[models.duplicated()]), chains["sampling"].nunique() > 1
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for experiment, model, sampling in chains.itertuples(index=False):
        label = f"{model}, {experiment}" if model in shared else model
        found[experiment, model, sampling] = (label, f"{label}, {sampling}" if several else label)
    return found


def require(frame: pd.DataFrame, domain: str, quantity: Quantity) -> pd.DataFrame:
    """`select`, for what cannot be shown without rows.

    Raises:
        UserError: there are none, or a measurement is listed twice.
    """
    rows = select(frame, domain, quantity)
    if not rows.empty:
        return rows
    wanted = f"{quantity.metric} (split {quantity.split}) in domain {domain}"
    if frame.empty:
        raise UserError(f"no value of {wanted}: the table has no rows")
    named = frame.assign(name=frame["metric"] + "/" + frame["split"])
    parts = [
        f"{name} ({', '.join(in_order(group['experiment']))}): {', '.join(in_order(group['name']))}"
        for name, group in named.groupby("domain", sort=True)
    ]
    raise UserError(f"no value of {wanted}; there is {'; '.join(parts)}")


def _describe(rows: pd.DataFrame, most: int = 5) -> str:
    seen = rows[["experiment", "regime", "sampling", "seed", "iteration"]].drop_duplicates()
    texts = [
        f"{experiment} {regime} {sampling} seed {seed} iteration {iteration}"
        for experiment, regime, sampling, seed, iteration in seen.head(most).itertuples(index=False)
    ]
    return "; ".join(texts) + (f" and {len(seen) - most} more" if len(seen) > most else "")


def by_seed(rows: pd.DataFrame) -> pd.Series:
    """Values by iteration and seed; the parts of one model are averaged."""
    return rows.groupby(["iteration", "seed"])["value"].mean()


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds and its 95% confidence interval by Student's t, by iteration.

    NaN values are left out. An iteration without any value, or missing between two others, is a row of NaN: a gap.

    Args:
        rows: columns iteration, seed, value.

    Returns:
        index iteration (every integer from the first to the last), columns mean, low and high (NaN below three seeds),
        seeds (with a value).
    """
    seeds = by_seed(rows).groupby("iteration")
    mean, count = seeds.mean(), seeds.count()
    # Of two seeds, it would be 13 standard errors to either side.
    half = (stdtrit(np.maximum(count - 1, 1), 0.975) * seeds.std() / np.sqrt(count)).where(count >= 3)
    points = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "seeds": count})
    points = points.reindex(pd.RangeIndex(points.index.min(), points.index.max() + 1, name="iteration"))
    return points.fillna({"seeds": 0}).astype({"seeds": int})
