"""What the page says of the profile: sentences, sizes and remarks."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import pytest

from selfloop.data.profile import Measure, Profile, Remark
from selfloop.data.tidy import PROFILE
from selfloop.report.phenomena import PHENOMENA, Decision, Observed, Word
from selfloop.report.profile import Profiled, remarks, sentence, size_of, unmeasured
from selfloop.statistics.estimates import UNKNOWN, Estimate

SPEC = Profile(Measure("spread", "Spread"), None, (), None, None, remarks=(Remark("lost", "Some are left out"),))

NOTHING: Sequence[Word] = ("no", "no", "no", "undecided")


def found(regime: str, words: Sequence[Word], series: str = "m") -> Profiled:
    """A model under a regime, of which these words are said."""
    decisions = [Decision(of, word, UNKNOWN) for of, word in zip(PHENOMENA, words, strict=True)]
    return Profiled("text", "e", series, regime, 3, Observed(None), decisions)


def test_a_sentence_says_what_happens_under_each_regime() -> None:
    spec = replace(SPEC, recall=Measure("recall", "Recall"), wider="become more random")
    said = sentence(
        [
            found("replace", ("blows up", "no", "towards uniformity", "carried on")),
            found("accumulate", ("no", "modal collapse", "no", "averaged out")),
        ],
        spec,
    )
    assert said == (
        "Under replace, the test loss keeps rising, samples become more random (towards uniformity) and errors are "
        "carried on from model to model; under accumulate, samples lose variety and reach less of the real data (modal "
        "collapse) and part of each error averages out."
    )


def test_what_samples_cannot_reach_is_not_spoken_of_where_they_have_no_recall() -> None:
    said = sentence([found("replace", ("no", "modal collapse", "no", "no"))], replace(SPEC, narrower="shrink"))
    assert said == "Under replace, samples shrink (modal collapse)."


def test_what_is_said_of_some_models_is_counted() -> None:
    said = sentence([found("replace", ("blows up", *NOTHING[1:])), found("replace", NOTHING, "n")], SPEC)
    assert said == "Under replace, the test loss keeps rising (1 of 2 models)."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (NOTHING, "none of the four phenomena is sure to happen"),
        (("undecided",) * 4, "these seeds cannot tell"),
        (("no word",) * 4, "nothing can be said"),
    ],
)
def test_a_sentence_tells_nothing_happens_from_nothing_is_known(words: Sequence[Word], said: str) -> None:
    assert sentence([found("real", words)], SPEC) == f"Under real, {said}."


def test_sizes_are_shares_and_kappa_as_it_is() -> None:
    size = Estimate(math.log(0.5), math.log(0.4), math.log(0.6), 0.01, 3)
    assert size_of(Decision("modal collapse", "modal collapse", size)) == "\u221250% (\u221260% to \u221240%)"
    assert size_of(Decision("blow-up", "blows up", Estimate(0.5, 0.4, 0.6, 0.01, 3))) == "+50% (+40% to +60%)"
    assert size_of(Decision("carried errors", "averaged out", Estimate(0.5, 0.4, 0.6, 0.01, 3))) == (
        "0.500 (0.400 to 0.600)"
    )
    assert size_of(Decision("blow-up", "no word", UNKNOWN)) == ""


def test_models_of_which_nothing_is_left_are_named_and_so_is_kappa() -> None:
    chain = {"experiment": "e", "domain": "molecule", "model": "m", "sampling": "s", "regime": "replace", "seed": 0}
    rows = [{**chain, "iteration": t, "measure": "spread", "at": None, "value": 1.0, "real": 1.0} for t in (1, 4)]
    spec = replace(SPEC, carried=Measure("kappa", "κ"))
    assert unmeasured(pd.DataFrame(rows, columns=PROFILE.names), "molecule", spec) == [
        "kappa and spread (m, iterations 2, 3 and 4)"
    ]


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
