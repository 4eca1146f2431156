"""The two tidy tables of a study, and the selections that figures and tables are made of."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from selfloop.data.quantity import Quantity
from selfloop.errors import UserError

log = logging.getLogger(__name__)

CHAIN = ["experiment", "domain", "model", "regime", "sampling", "seed"]
METRICS_COLUMNS = [*CHAIN, "iteration", "part", "split", "metric", "value"]
CURVES_COLUMNS = [*CHAIN, "iteration", "split", "step", "epoch", "metric", "value"]

# The order of panels and columns: the paper's three regimes, its follow-up's control, then the user's own by name.
REAL_DATA = "real data"  # where iteration 1 is shown once for all regimes
KNOWN_REGIMES = ("replace", "accumulate", "replace-multiple", "accumulate-subsample")


def read_metrics(path: Path) -> pd.DataFrame:
    """Open `results/metrics.parquet`: one row per measured value.

    Raises:
        UserError: a column is missing.
    """
    return _read(Path(path), METRICS_COLUMNS)


def read_curves(path: Path) -> pd.DataFrame:
    """Open `results/learning_curves.parquet`: one row per value measured while a model trained.

    Raises:
        UserError: a column is missing.
    """
    return _read(Path(path), CURVES_COLUMNS)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    names = pq.read_schema(path).names
    missing = [column for column in columns if column not in names]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; the file has {', '.join(names)}")
    frame: pd.DataFrame = pd.read_parquet(path, columns=list(columns))
    return frame


def regimes_in_order(names: Iterable[str]) -> list[str]:
    """Regimes as panels and columns show them: the known ones first, then the user's by name."""
    found = {str(name) for name in names}
    known = [name for name in (REAL_DATA, *KNOWN_REGIMES) if name in found]
    return known + sorted(found.difference(known))


def in_order(values: pd.Series) -> list[str]:
    """Distinct values in the order of the table, which is the order in which the user wrote the study."""
    return [str(value) for value in values.drop_duplicates()]


def select(
    frame: pd.DataFrame, domain: str, quantity: Quantity, experiment: str | None = None, keys: Sequence[str] = ()
) -> pd.DataFrame:
    """Rows of one quantity in one domain (of one experiment), with a `label` column that names the experiment.

    The label is the model's; where several experiments of the domain train the same model it names the experiment too.
    Values that are not finite become NaN, and a log line says which.

    Args:
        frame: metrics or learning curves.
        domain: the domain's name.
        quantity: what to select.
        experiment: only this one; all of them if None.
        keys: columns besides the chain and the iteration that tell two measurements apart ("part", "step").

    Raises:
        UserError: nothing is selected, or a measurement is listed twice.
    """
    own = frame[frame["domain"] == domain]
    labels = _labels(own)
    rows = own[(own["metric"] == quantity.metric) & (own["split"] == quantity.split)]
    if experiment is not None:
        rows = rows[rows["experiment"] == experiment]
    if rows.empty:
        raise UserError(_nothing(frame, domain, quantity, experiment))
    identity = [*CHAIN, "iteration", *keys]
    twice = rows[rows.duplicated(identity)]
    if not twice.empty:
        raise UserError(
            f"{quantity.metric} ({quantity.split}) is listed more than once for {_describe(twice.head(1))}; "
            f"one value is allowed for each {', '.join(identity)}"
        )
    rows = rows.assign(
        label=[labels[pair] for pair in zip(rows["experiment"], rows["model"], strict=True)],
        value=rows["value"].where(np.isfinite(rows["value"])),
    )
    gone = rows[rows["value"].isna()]
    if not gone.empty:
        log.warning(
            "%s (%s): %d of %d values are not finite and are left out: %s",
            *(quantity.metric, quantity.split, len(gone), len(rows), _describe(gone)),
        )
    return rows


def _labels(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    pairs = rows[["experiment", "model"]].drop_duplicates()
    shared = set(pairs["model"][pairs["model"].duplicated()])
    return {
        (experiment, model): f"{model}, {experiment}" if model in shared else model
        for experiment, model in zip(pairs["experiment"], pairs["model"], strict=True)
    }


def _nothing(frame: pd.DataFrame, domain: str, quantity: Quantity, experiment: str | None) -> str:
    wanted = f"{quantity.metric} (split {quantity.split}) in domain {domain}"
    if experiment is not None:
        wanted += f", experiment {experiment}"
    if frame.empty:
        return f"no value of {wanted}: the table has no rows"
    there = frame.assign(name=frame["metric"] + "/" + frame["split"])
    parts = [
        f"{name} ({', '.join(in_order(group['experiment']))}): {', '.join(in_order(group['name']))}"
        for name, group in there.groupby("domain", sort=True)
    ]
    return f"no value of {wanted}; there is {'; '.join(parts)}"


def _describe(rows: pd.DataFrame, most: int = 5) -> str:
    columns = ["experiment", "regime", "sampling", "seed", "iteration"]
    seen = rows[columns].drop_duplicates()
    texts = [
        f"{experiment} {regime} {sampling} seed {seed} iteration {iteration}"
        for experiment, regime, sampling, seed, iteration in seen.head(most).itertuples(index=False)
    ]
    return "; ".join(texts) + (f" and {len(seen) - most} more" if len(seen) > most else "")


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest value over seeds, by iteration; parts of one model are averaged first.

    NaN values are left out. An iteration without any value, or missing between two others, is a row of NaN: a gap.

    Returns:
        index iteration (every integer from the first to the last), columns mean, low, high.
    """
    by_seed = rows.groupby(["iteration", "seed"])["value"].mean()
    points = by_seed.groupby("iteration").agg(["mean", "min", "max"]).set_axis(["mean", "low", "high"], axis=1)
    return points.reindex(pd.RangeIndex(points.index.min(), points.index.max() + 1, name="iteration"))
