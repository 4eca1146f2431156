"""The paper's Table 2, and which experiments have its setting, so that its values may be drawn beside theirs. Light."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PAPER = "Is Model Collapse Inevitable? (arXiv 2404.01413v2)"


@dataclass(frozen=True)
class Row:
    """A row of Table 2: test cross-entropy in nats per token, None where the paper has n/a.

    Attributes:
        title: the model, as the paper calls it.
        model: what the config's `model` must say.
        fraction: share of TinyStories trained on.
        epochs: passes over the training set.
        temperature: of sampling.
        first, accumulate, replace, replace_late, multiple: t=1, t=4 (acc), t=4 (repl), t=10 (repl), t=4 (*).
    """

    title: str
    model: Mapping[str, Any]
    fraction: float
    epochs: float
    temperature: float
    first: float
    accumulate: float
    replace: float
    replace_late: float | None = None
    multiple: float | None = None

    def values(self) -> list[tuple[str | None, int, float]]:
        """(regime, iteration, value); no regime at iteration 1.

        "t=4 (repl)" stands at 4 and at 5, for a run of the paper's authors has its value at the fifth fit: the table
        may count from 0 there.
        """
        found: list[tuple[str | None, int, float | None]] = [
            (None, 1, self.first),
            ("accumulate", 4, self.accumulate),
            ("replace", 4, self.replace),
            ("replace", 5, self.replace),
            ("replace", 10, self.replace_late),
            ("replace-multiple", 4, self.multiple),
        ]
        return [(regime, iteration, value) for regime, iteration, value in found if value is not None]


_GPT2 = {"architecture": "gpt2", "hidden_size": 256, "layers": 8}


def _llama(hidden: int, layers: int) -> dict[str, Any]:
    return {"architecture": "llama", "hidden_size": hidden, "layers": layers, "intermediate_size": 4 * hidden}


TABLE_2 = (
    Row("GPT-2 (9M)", _GPT2, 1.0, 1.0, 1.0, 1.82, 1.74, 2.39, 2.91, 2.18),
    Row("GPT-2 (9M), temperature 0.3", _GPT2, 1.0, 1.0, 0.3, 1.82, 1.75, 5.82, 9.85),
    Row("GPT-2 (9M), a fifth of the data", _GPT2, 0.2, 1.0, 1.0, 2.56, 2.28, 3.21, 3.72, 2.91),
    Row("GPT-2 (9M), a fifth, 3 epochs", _GPT2, 0.2, 3.0, 1.0, 1.99, 1.87, 2.62),
    Row("Llama-2 (12M)", _llama(256, 8), 1.0, 1.0, 1.0, 2.06, 1.94, 2.72),
    Row("Llama-2 (42M)", _llama(512, 8), 1.0, 1.0, 1.0, 1.90, 1.76, 2.52),
    Row("Llama-2 (126M)", _llama(768, 12), 1.0, 1.0, 1.0, 1.71, 1.59, 2.23),
)

SAME_SETTING = (
    "An experiment has the setting of a row of Table 2 if it trains on TinyStories from the hub (all of it, or the "
    "row's share) with a vocabulary of 8,000, the row's architecture, width and layers, its epochs, and its "
    "temperature without cut-offs. Learning rate, optimizer, heads and context, which the paper does not publish, are "
    "not compared."
)


def matching(experiment: Mapping[str, Any], sampling: Mapping[str, Any]) -> Row | None:
    """The row of Table 2 that has the setting of a checked experiment under one of its samplings, or None."""
    data, model = experiment["data"], experiment["model"]
    if experiment["domain"] != "text" or data["source"] != "hub" or data["name"] != "roneneldan/TinyStories":
        return None
    if data["rows"] is not None or model["vocabulary"] != 8000:
        return None
    if sampling["top_k"] is not None or sampling["top_p"] is not None:
        return None
    said = dict(model)
    if said["architecture"] == "llama" and said["intermediate_size"] is None:
        said["intermediate_size"] = 4 * said["hidden_size"]
    given = (data["fraction"] or 1.0, experiment["training"]["epochs"], sampling["temperature"])
    for row in TABLE_2:
        same = (row.fraction, row.epochs, row.temperature) == given
        if same and all(said.get(key) == value for key, value in row.model.items()):
            return row
    return None


def published(
    experiments: Mapping[str, Mapping[str, Any]], titles: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """The paper's values that may stand beside the study's, as rows {experiment, sampling, regime, iteration, value}.

    Args:
        experiments: of one domain, checked, by name.
        titles: by experiment, how tables name each of its samplings.
    """
    found = []
    for name, experiment in experiments.items():
        for sampling, title in zip(experiment["sampling"], titles[name], strict=True):
            row = matching(experiment, sampling)
            for regime, iteration, value in [] if row is None else row.values():
                for shown in experiment["regimes"] if regime is None else [regime]:
                    if shown in experiment["regimes"]:
                        place = {"experiment": name, "sampling": title, "regime": shown}
                        found.append({**place, "iteration": iteration, "value": value})
    return found
