"""The decisions on made samples: each phenomenon is recognised as what it is, and as nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from selfloop.data.profile_rows import Link, Values, rows
from selfloop.data.tidy import METRICS, PROFILE
from selfloop.planning.shown import profiled_domains
from selfloop.report.profile import profiled
from selfloop.report.study import Basis

HAPPENS = {"blows up", "modal collapse", "towards uniformity", "amplified"}
STABLE, RISING = (1.0, 1.0, 1.0), (1.0, 1.3, 1.6)
SEEDS = (0, 1, 2)

Chains = Mapping[int, Sequence[tuple[Values, Values]]]  # by seed and iteration: of samples and of real data


@pytest.fixture
def happening() -> Callable[..., set[str]]:
    """What is decided to happen to chains, of what their losses and samples were made to do."""

    def of(domain: Any, chains: Chains, losses: Sequence[float] = STABLE) -> set[str]:
        chain = {"experiment": "made", "domain": domain.name, "model": "m", "regime": "replace", "sampling": "s"}
        found = [
            {**chain, "seed": seed, "iteration": iteration, **row}
            for seed, measured in chains.items()
            for iteration, (values, real) in enumerate(measured, start=1)
            for row in rows(Link(part="p", previous=None, checkpoint="", sampling={}), values, real)
        ]
        headline = {"metric": domain.headline.metric, "part": None}
        measured_losses = [
            {**chain, **headline, "seed": seed, "iteration": t, "split": domain.headline.split, "value": value}
            for seed in chains
            for t, value in enumerate((loss + 0.001 * seed * n for n, loss in enumerate(losses)), start=1)
        ]
        nothing = {**chain, **headline, "iteration": 0, "split": domain.headline.baseline.split, "value": 2.0}
        metrics = pd.DataFrame([*measured_losses, *({**nothing, "seed": s} for s in chains)], columns=METRICS.names)
        profile = pd.DataFrame(found).reindex(columns=PROFILE.names)
        (line,) = profiled(metrics, profile, map(Basis.model_validate, profiled_domains([domain])))
        return {of.word for of in line.decisions} & HAPPENS

    return of
