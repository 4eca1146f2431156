"""What a predictor that learns nothing reaches: each number against one that is worked out another way."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from selfloop.data.shards import ShardWriter
from selfloop.domains.image.data import image_store
from selfloop.domains.image.model.loss import terms
from selfloop.domains.image.model.network import Autoencoder
from selfloop.domains.image.steps import measure_baseline as image
from selfloop.domains.linear.data.rows import write_rows
from selfloop.domains.linear.steps import measure_baseline as linear
from selfloop.domains.molecule.config import Model
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import write_conformations
from selfloop.domains.molecule.steps import measure_baseline as molecule
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.steps import measure_baseline as text
from selfloop.jobs.job import Job, StepParams

from .molecule.conftest import embedded


def measured(step: ModuleType, folder: Path, **params: object) -> Mapping[str, float]:
    """What the step writes of the splits in a folder."""
    output = folder / "baseline.json"
    kind: type[StepParams] = getattr(step, "Params", StepParams)
    inputs = {split: str(folder / split) for split in ("train", "test")}
    step.run(Job(inputs, {"measurements": str(output)}, kind.model_validate(params)))
    rows = json.loads(output.read_text())
    assert rows[0]["split"] == "test-baseline"
    return {row["metric"]: row["value"] for row in rows}


def test_text_is_predicted_by_the_frequencies_of_the_train_split(tmp_path: Path) -> None:
    """Begin-of-text is not predicted, and what lies beyond the context is not seen."""
    splits = {"train": [[0, 2, 2, 1], [0, 3, 1, 5]], "test": [[0, 2, 4, 5, 5], [0, 1]]}
    for split, documents in splits.items():
        (tmp_path / split).mkdir()
        with ShardWriter(tmp_path / split, SCHEMA, rows_per_group=1) as writer:
            for row, ids in enumerate(documents):
                writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
    found = measured(text, tmp_path, model={"context": 3, "vocabulary": 6})
    # Predicted in the train split, with one more of each: 2, 2, 3, 1 of 6 tokens.
    probabilities = {1: 2 / 10, 2: 3 / 10, 4: 1 / 10}
    expected = -sum(math.log(probabilities[token]) for token in (2, 4, 1)) / 3
    sizes = {"rows": 2, "tokens": 8, "tokens_within_context": 6}
    assert found == {"cross_entropy": pytest.approx(expected), **sizes}


def test_images_are_predicted_by_the_mean_image(tmp_path: Path) -> None:
    """The value that a VAE has whose encoder gives the prior and whose decoder always gives the mean image."""
    generator = np.random.default_rng(0)
    pixels = {split: generator.integers(0, 256, (7, 1, 4, 4), np.uint8) for split in ("train", "test")}
    for split, images in pixels.items():
        (tmp_path / split).mkdir()
        with ShardWriter(tmp_path / split, image_store.SCHEMA, rows_per_group=3) as writer:
            for row, data in enumerate(image_store.encode_png(images)):
                writer.append({"image": {"bytes": data}, "row": row, "iteration": 0, "part": 0})
    mean = torch.from_numpy(pixels["train"] / 127.5 - 1).mean(dim=0).float()

    class Constant:
        def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(len(images), 2), torch.zeros(len(images), 2)

        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return mean.expand(len(latents), 1, 4, 4)

    model: Autoencoder = Constant()  # type: ignore[assignment]
    error, divergence = terms(model, torch.from_numpy(pixels["test"]), torch.randn(7, 2))
    found = measured(image, tmp_path)
    assert divergence.sum() == found["kl_nats"] == 0
    assert found["total_loss"] == found["reconstruction_mse"] == pytest.approx(error.mean().item(), rel=1e-5)


def test_molecules_have_no_scores(tmp_path: Path) -> None:
    """Then the loss is that of the targets alone, which do not depend on the size of the network."""
    for split in ("train", "test"):
        write_conformations(conformations_of(embedded("CCO"), "CCO"), tmp_path / split)
    small, large = (
        measured(molecule, tmp_path, model=Model(hidden_size=width, global_layers=1, local_layers=1).plain)
        for width in (8, 16)
    )
    assert small == large
    assert small["loss_total"] == pytest.approx(small["loss_global"] + small["loss_local"])
    assert min(small.values()) > 0


def test_a_regression_has_the_parameters_zero(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_rows(tmp_path / split, np.eye(2), np.array([1.0, 3.0]), np.zeros(2))
    assert measured(linear, tmp_path) == {"excess_risk": pytest.approx(5.0)}
