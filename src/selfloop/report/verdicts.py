"""What a loop does to a model, in a word: the rule behind the page's words, a pure function of effects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selfloop.numbers import MINUS
from selfloop.statistics.effect import NOTABLE, Effect, half_of
from selfloop.statistics.estimates import holm

Word = Literal[
    "better",
    "no notable change",
    "worse, still rising",
    "worse, flat",
    "worse, late trend open",
    "useless",
    "undecided",
    "no word",
]
FEWEST_SEEDS = 3
LEVEL = 0.05  # of Holm's correction: the share of studies in which any "worse" or "better" may be wrong

DEFINITION = (
    "Model collapse, as the paper's abstract defines it: “performance progressively degrades with each model-data "
    "feedback iteration until fitted models become useless”."
)
RULE = (
    f"The scale. E = (L_n {MINUS} L_1) / (L_0 {MINUS} L_1) is the share of what model 1 had learnt that is lost at "
    "iteration n: L_n is the test loss of iteration n, and L_0 that of a predictor that learns nothing. 0 is model 1, "
    "1 is useless. "
    "Losses are paired by seed; intervals are 95% confidence intervals over seeds (Student's t), and all regimes of "
    "one experiment are judged at the same iteration N, the last that all of them reach.",
    "Useless: the interval of E at N lies above 1.",
    "Worse: E at N is above 0, after Holm's correction for all words of the study, and its interval does not lie "
    "within ±5%. Still rising: the change from half the chain to N is above 0. Flat since t, at most half the "
    "chain: every change from then on up to N lies within ±5%. Late trend open: neither.",
    "Better: the same with E below 0.",
    "No notable change: the interval of E at N lies within ±5% (two one-sided tests).",
    "Undecided: none of these; these seeds cannot tell. A chain that would be better or without notable change is "
    "undecided if one of its seeds has a loss that is not finite, or ends before the others: it may have diverged.",
    "No word: fewer than three seeds, one iteration, or a first model that has not learnt enough for a loop to lose.",
    f"Law: from eight iterations on, the exponent p of late increments that fall like n^{MINUS}p, apart from the step "
    "from real to synthetic data, by generalised least squares. p = 0 is linear, 1 logarithmic; bounded only if the "
    "interval of p lies above 1. In shorter chains linear, logarithmic and bounded growth cannot be told apart.",
    "Scope: training and sampling randomness, given one draw of the real data and of the test set.",
)


@dataclass(frozen=True)
class Verdict:
    """A word of the rule.

    Attributes:
        word: the word.
        since: for "worse, flat", the iteration since when.
        p: p-value of E_N = 0 after Holm's correction; NaN where there is no test.
        reason: why there is no word or no other one, in a sentence; empty where the numbers say it.
    """

    word: Word
    since: int | None = None
    p: float = math.nan
    reason: str = ""

    @property
    def text(self) -> str:
        """The word for readers."""
        return f"worse, flat since {self.since}" if self.since is not None else self.word


def verdicts(effects: Sequence[Effect], inadequate: Sequence[str] = ()) -> list[Verdict]:
    """The words of a study, which are corrected for their number.

    Args:
        effects: of all models and regimes of the study.
        inadequate: for each of them why its model 1 has not learnt enough, or an empty string; by default none.
    """
    reasons = [no or _no_word(of) for no, of in zip(inadequate or [""] * len(effects), effects, strict=True)]
    tested = [math.nan if reason else of.total.p for of, reason in zip(effects, reasons, strict=True)]
    return [
        Verdict("no word", reason=reason) if reason else _word(of, p)
        for of, reason, p in zip(effects, reasons, holm(tested), strict=True)
    ]


def _no_word(of: Effect) -> str:
    if of.horizon < 2:
        return "One iteration: nothing has been trained on samples yet."
    if of.broken == of.asked:
        return f"No seed is finite up to iteration {of.horizon}."
    if math.isnan(of.learned):
        return "The loss of a predictor that learns nothing has not been measured."
    if of.learned <= 0:
        return "Model 1 is no better than a predictor that learns nothing: there is nothing that a loop could lose."
    if of.total.seeds < FEWEST_SEEDS:
        return f"{of.total.seeds} of {FEWEST_SEEDS} seeds that a word needs."
    return ""


def _word(of: Effect, p: float) -> Verdict:
    total, late = of.total, of.late
    if total.low >= 1:
        return Verdict("useless", p=p)
    if total.within(NOTABLE):
        return Verdict("no notable change", p=p) if not of.broken else _diverged(of, p)
    if not p < LEVEL:
        lone = total.p < LEVEL
        reason = "It differs from 0 alone, but not among all words of the study." if lone else ""
        return Verdict("undecided", p=p, reason=reason)
    if total.value < 0:
        return Verdict("better", p=p) if not of.broken else _diverged(of, p)
    if late.low > 0 and not late.within(NOTABLE):
        return Verdict("worse, still rising", p=p)
    if of.flat_since is not None and of.flat_since <= half_of(of.horizon):
        return Verdict("worse, flat", of.flat_since, p)
    return Verdict("worse, late trend open", p=p)


def _diverged(of: Effect, p: float) -> Verdict:
    return Verdict("undecided", p=p, reason=f"{of.broken} of {of.asked} seeds diverged or ended early.")
