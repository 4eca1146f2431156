"""The paper's values for experiments in the same setting, for figures and tables. Light."""

from collections.abc import Mapping

from selfloop.config.models import Experiment
from selfloop.data.published import Published, PublishedLaw
from selfloop.domains.logistic import domain as logistic
from selfloop.domains.logistic.config import Data
from selfloop.domains.protocol import Analysis, AnyDomain
from selfloop.domains.text import domain as text
from selfloop.paper.table2 import COLUMNS, Row, paper_row

PAPER = "Is Model Collapse Inevitable? (arXiv 2404.01413v2)"

SAME_SETTING = (
    "An experiment has the setting of a row of Table 2 if it trains on TinyStories from the hub (all of it, or the "
    "row's share) with a vocabulary of 8,000, a model of the row's architecture and exact size, its epochs, and its "
    "temperature without cut-offs. Learning rate, optimizer, heads and prompts, which the paper does not publish, are "
    "not compared."
)


def counterparts(domain: AnyDomain, experiments: Mapping[str, Experiment]) -> dict[tuple[str, str], Row | None]:
    """By experiment and sampling (as tables name it), the row of Table 2 with the same setting.

    Only language models have one: linear regression is compared with theory, and the paper gives no numbers for images
    and molecules.
    """
    return {
        (name, domain.sampling_title(sampling)): paper_row(entry.data, entry.model, entry.training, sampling)
        for name, entry in experiments.items()
        if isinstance(entry, text.Experiment)
        for sampling in entry.sampling
    }


def published(domain: AnyDomain, experiments: Mapping[str, Experiment]) -> list[Published]:
    """The paper's values to show beside the study's, as rows {experiment, sampling, regime, iteration, value}.

    "t=4 (repl)" is listed at 4 and at 5, since the paper may count from 0 there (see `table2`).

    Args:
        domain: the domain.
        experiments: its experiments, checked, by name.
    """
    return [
        {"experiment": name, "sampling": sampling, "regime": regime, "iteration": column.iteration, "value": value}
        for (name, sampling), row in counterparts(domain, experiments).items()
        for column in COLUMNS
        if row is not None and (value := row.values.get(column.heading)) is not None
        for regime in experiments[name].regimes
        if column.regime in (None, regime)
    ]


def comparisons(domain: AnyDomain, experiments: Mapping[str, Experiment]) -> list[Analysis]:
    """What the paper adds to a domain's own analyses: the study's losses beside those of Table 2."""
    asked = [
        {"experiment": name, "sampling": sampling, "row": None if row is None else row.name}
        for (name, sampling), row in counterparts(domain, experiments).items()
    ]
    return [Analysis("write_paper", tables=("paper",), asked=asked)] if asked else []


# Test log-losses of one run, from the authors' logs (github.com/apd1995/model_collapse_universality at 5a18992,
# logistic_ML_data/diabetes_*.log), by iteration.
DEY_DONOHO = "Dey and Donoho, Universality of the π²/6 Pathway in Avoiding Model Collapse (arXiv 2410.22812)"
DIABETES = {
    "replace": {1: 0.4284598, 2: 0.4626689, 5: 0.5376320, 10: 0.7566930, 20: 1.9517375},
    "accumulate": {1: 0.4284598, 2: 0.4399525, 5: 0.4484187, 10: 0.4551353, 20: 0.4520326},
}


def published_laws(domain: AnyDomain, experiments: Mapping[str, Experiment]) -> list[PublishedLaw]:
    """What others have published of a simulated setting, with experiment, model, regime, metric, iteration, source."""
    found: list[PublishedLaw] = []
    for name, entry in experiments.items():
        if isinstance(entry, logistic.Experiment) and entry.data.plain == DEY_DONOHO_DATA:
            found += [
                {
                    "experiment": name,
                    "model": "diabetes",
                    "metric": "log_loss",
                    "regime": regime,
                    "iteration": iteration,
                    "value": value,
                    "source": DEY_DONOHO,
                }
                for regime in entry.regimes
                for iteration, value in DIABETES.get(regime, {}).items()
            ]
    return found


DEY_DONOHO_DATA = Data(source="packaged", name="diabetes", seed=123456).plain
