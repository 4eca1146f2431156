"""The model: frequencies of types, its checkpoint, and what is measured of it.

A checkpoint has model.safetensors with `counts` (types,) in float64, types.json with the types, most frequent first,
and config.json. Counts are weighted where rows are, with a mean weight of 1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from selfloop.checksums import REMEDY
from selfloop.domains.discrete.rows import Array
from selfloop.errors import UserError

UNIFORM = 0.01  # the share of the uniform distribution that the loss is measured with


@dataclass(frozen=True)
class Model:
    """The types, and how often each of them was trained on (types,)."""

    types: list[str]
    counts: Array

    def probabilities(self, temperature: float = 1.0) -> Array:
        """Of each type, with their logarithms divided by the temperature."""
        return tempered(self.counts, temperature)


def tempered(counts: Array, temperature: float) -> Array:
    """The probabilities p^(1/temperature) of counts (..., types), normalised."""
    relative = counts / counts.max(axis=-1, keepdims=True)
    weights = relative if temperature == 1 else relative ** (1 / temperature)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def model_of(counts: Mapping[str, float]) -> Model:
    """The model of counted types, most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Model([word for word, _ in ordered], np.array([count for _, count in ordered], dtype=np.float64))


def save_checkpoint(model: Model, folder: Path) -> None:
    """Write the model to an existing folder."""
    save_file({"counts": model.counts}, folder / "model.safetensors")
    (folder / "types.json").write_text(json.dumps(model.types, ensure_ascii=False) + "\n", encoding="utf-8")
    config = {"model_type": "unigram", "types": len(model.types), "dtype": "float64"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> Model:
    """The model of a checkpoint that `save_checkpoint` wrote.

    Raises:
        UserError: a count is not a positive number.
    """
    counts = load_file(folder / "model.safetensors")["counts"]
    if not (np.isfinite(counts).all() and (counts > 0).all()):
        raise UserError(f"{folder}: counts in model.safetensors are not positive. {REMEDY.format(folder)}")
    return Model(json.loads((folder / "types.json").read_text(encoding="utf-8")), counts)


def aligned(model: Model, test: Mapping[str, int]) -> tuple[Array, Array]:
    """The counts of the model and of the test rows, (types,) each, of all types that one of them has."""
    places = {word: place for place, word in enumerate(model.types)}
    for word in test:
        places.setdefault(word, len(places))
    counts, tested = np.zeros(len(places)), np.zeros(len(places))
    counts[: len(model.types)] = model.counts
    tested[[places[word] for word in test]] = list(test.values())
    return counts, tested


def measured(counts: Array, test: Array) -> dict[str, Array]:
    """What is measured of models with counts (..., types), against test counts (types,).

    lost_types: the share of the test rows' types that the model cannot produce; types: how many it can; gini_simpson:
    the probability that two samples differ; entropy, in nats; cross_entropy: of the test rows in nats, under the model
    with a hundredth of the uniform distribution mixed in, since a row that cannot be produced would make it infinite.
    """
    p = tempered(counts, 1.0)
    alive = counts > 0
    tested = test > 0
    logs = np.log(np.where(alive, p, 1.0))
    uniform = UNIFORM / (alive | tested).sum(axis=-1, keepdims=True)
    return {
        "lost_types": 1 - alive[..., tested].mean(axis=-1),
        "types": alive.sum(axis=-1).astype(np.float64),
        "gini_simpson": 1 - (p**2).sum(axis=-1),
        "cross_entropy": -np.log((1 - UNIFORM) * p[..., tested] + uniform) @ (test[tested] / test.sum()),
        "entropy": -(p * logs).sum(axis=-1),
    }
