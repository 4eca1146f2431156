"""The paper's values that may be drawn beside a study's own, since their settings are the same. Light."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfloop.paper.table2 import COLUMNS, paper_row

PAPER = "Is Model Collapse Inevitable? (arXiv 2404.01413v2)"

SAME_SETTING = (
    "An experiment has the setting of a row of Table 2 if it trains on TinyStories from the hub (all of it, or the "
    "row's share) with a vocabulary of 8,000, a model of the row's architecture and exact size, its epochs, and its "
    "temperature without cut-offs. Learning rate, optimizer, heads and prompts, which the paper does not publish, are "
    "not compared."
)


def published(
    experiments: Mapping[str, Mapping[str, Any]], titles: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """The paper's values that may stand beside the study's, as rows {experiment, sampling, regime, iteration, value}.

    "t=4 (repl)" stands at 4 and at 5, since the table may count from 0 there (see `text.paper`). Linear regression's
    theory is drawn by that domain itself; for images and molecules the paper has no numbers.

    Args:
        experiments: of one domain, checked, by name.
        titles: by experiment, how tables name each of its samplings.
    """
    found = []
    for name, experiment in experiments.items():
        if experiment["domain"] != "text":
            continue
        for sampling, title in zip(experiment["sampling"], titles[name], strict=True):
            row = paper_row(experiment["data"], experiment["model"], experiment["training"], sampling)
            for column in [] if row is None else COLUMNS:
                value = None if row is None else row.values.get(column.heading)
                for regime in experiment["regimes"] if column.regime is None else [column.regime]:
                    if value is not None and regime in experiment["regimes"]:
                        place = {"experiment": name, "sampling": title, "regime": regime}
                        found.append({**place, "iteration": column.iteration, "value": value})
    return found
