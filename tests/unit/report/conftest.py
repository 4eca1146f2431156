"""Tables of a small study, and its page, without any file of a real one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfloop.data.tidy import CURVES, METRICS, PROFILE
from selfloop.planning.rules import Plan, plan_study
from selfloop.report.page import Sources, render
from selfloop.report.study import Study

CONFIG = {
    "experiments": {
        "plays": {
            "domain": "text",
            "data": {"source": "packaged", "name": "shakespeare"},
            "model": {"architecture": "gpt2"},
            "regimes": ["replace", "accumulate"],
            "iterations": 4,
            "seeds": [0, 1, 2],
        }
    }
}
LOSSES = {"replace": [4.0, 4.4, 4.8, 5.2], "accumulate": [4.0, 3.98, 3.97, 3.97]}


def plan(experiments: Mapping[str, Any] = CONFIG["experiments"]) -> Plan:
    return plan_study({"experiments": experiments})


def measured(
    losses: Mapping[str, Sequence[float]] = LOSSES,
    seeds: Sequence[int] = (0, 1, 2),
    experiment: str = "plays",
    baseline: float | None = 6.0,
    **same: Any,
) -> pd.DataFrame:
    """Test cross-entropy by regime and iteration; seed s lies 0.01 s above, and as much more at each later one.

    What a predictor that learns nothing reaches is there as well, unless it is None.
    """
    base = {"experiment": experiment, "domain": "text", "model": "GPT-2 (1M)", "sampling": "temperature=1.0"}
    base |= {"part": None, "split": "test", "metric": "cross_entropy"} | same
    rows = [
        {**base, "regime": regime, "seed": seed, "iteration": t, "value": value + 0.01 * seed * t}
        for regime, values in losses.items()
        for seed in seeds
        for t, value in enumerate(values, start=1)
    ]
    rows += [
        {
            **base,
            "regime": regime,
            "seed": seed,
            "iteration": 0,
            "value": baseline,
            "split": f"{base['split']}-baseline",
        }
        for regime in losses
        for seed in seeds
        if baseline is not None
    ]
    return pd.DataFrame(rows, columns=METRICS.names)


def curves(
    metrics: pd.DataFrame, steps: Callable[[str, int], int], epochs: Callable[[int], float] = lambda _: 1.0
) -> pd.DataFrame:
    """Learning curves that end in the metrics, after so many steps and so many epochs of an iteration."""
    rows = [
        {
            **row,
            "step": steps(row["regime"], row["iteration"]) * share // 2,
            "epoch": epochs(row["iteration"]) * share / 2,
        }
        for row in metrics.to_dict("records")
        for share in (1, 2)
    ]
    return pd.DataFrame(rows, columns=CURVES.names)


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    def of(
        metrics: pd.DataFrame,
        curve: pd.DataFrame | None = None,
        study: Plan | None = None,
        profile: pd.DataFrame | None = None,
        **about: Any,
    ) -> str:
        curve = pd.DataFrame(columns=CURVES.names) if curve is None else curve
        profile = pd.DataFrame(columns=PROFILE.names) if profile is None else profile
        asked = Study.model_validate((study or plan()).shows.report())
        return render(Sources(asked, metrics, curve, profile, tmp_path, **about)).html

    return of
