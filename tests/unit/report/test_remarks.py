"""What the page remarks on measures of the profile."""

from dataclasses import replace

import pandas as pd
import pytest

from selfloop.data.profile import Measure, Profile, Remark
from selfloop.data.tidy import PROFILE
from selfloop.report.profile import remarks

SPEC = Profile(Measure("spread", "Spread"), None, (), None, None, remarks=(Remark("lost", "Some are left out"),))


def profile(values: dict[tuple[str, int], list[float]], models: tuple[str, ...] = ("m",)) -> pd.DataFrame:
    """By regime and iteration, the share that is left out, of each seed."""
    chain = {"experiment": "e", "domain": "molecule", "sampling": "s", "measure": "lost", "at": None, "real": 0.0}
    return pd.DataFrame(
        [
            {**chain, "model": model, "regime": regime, "iteration": t, "seed": seed, "value": value}
            for model in models
            for (regime, t), own in values.items()
            for seed, value in enumerate(own)
        ],
        columns=PROFILE.names,
    )


def test_what_is_left_out_is_said_with_its_mean_over_seeds_where_there_is_any() -> None:
    first = {("replace", 1): [0.02, 0.0], ("accumulate", 1): [0.02, 0.0]}
    later = {("replace", 2): [0.0, 0.0], ("accumulate", 2): [0.3, 0.1]}
    (said,) = remarks(profile(first | later), "molecule", SPEC)
    assert said == "Some are left out: 1.0% in iteration 1 and 20% in iteration 2 under accumulate"


def test_models_are_named_if_there_are_several() -> None:
    (said,) = remarks(profile({("replace", 2): [0.5]}, ("m", "n")), "molecule", SPEC)
    assert said == "Some are left out: 50% in iteration 2 under replace (m) and 50% in iteration 2 under replace (n)"


@pytest.mark.parametrize(("value", "said"), [(1.0, ["So it is"]), (0.0, [])])
def test_a_remark_without_values_is_made_where_it_holds(value: float, said: list[str]) -> None:
    spec = replace(SPEC, remarks=(Remark("lost", "So it is", values=False),))
    assert remarks(profile({("replace", 1): [value], ("replace", 2): [value]}), "molecule", spec) == said
