"""What domains score sampled rows by."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from selfloop.config.filters import Filter
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.choice import read_scores
from selfloop.data.shards import ShardWriter
from selfloop.domains.discrete.rows import write_words
from selfloop.domains.discrete.steps import score as discrete
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import write_rows
from selfloop.domains.linear.steps import score as linear
from selfloop.domains.text.data.token_store import SCHEMA, TokenStore
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.steps import score as text
from selfloop.jobs.job import Job


def scored(step: Any, part: Path, scorer: Filter, **more: Any) -> list[float]:
    inputs = {"part": str(part)} | ({"checkpoint": str(more.pop("checkpoint"))} if "checkpoint" in more else {})
    target = part.parent / "scores.parquet"
    step.run(Job(inputs, {"scores": str(target)}, step.Params(scorer=scorer, **more)))
    return list(read_scores(target))


@pytest.mark.parametrize(("center", "w"), [(None, [2.0, -1.0]), ([0.5, 0.5], [0.5, 0.5])])
def test_a_label_is_scored_by_its_distance_from_what_the_verifier_believes(
    tmp_path: Path, center: list[float] | None, w: list[float]
) -> None:
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    write_rows(tmp_path / "part", X, np.array([1.0, 1.0]), np.array([0.0, 0.5, -0.5]))
    data = Data(dimension=2, rows=3, w_star=[2.0, -1.0])
    found = scored(linear, tmp_path / "part", Filter(by="residual", center=center), data=data)
    np.testing.assert_allclose(found, -np.abs(np.array([1.0, 1.5, 1.5]) - X @ w))


def test_a_word_is_scored_by_its_reward(tmp_path: Path) -> None:
    write_words(tmp_path / "part", pa.array(["b", "a", "c", "b"]))
    assert scored(discrete, tmp_path / "part", Filter(by="reward", rewards={"b": 2.0, "a": -1.0})) == [2, -1, 0, 2]


DOCUMENTS = [[0, 5, 6, 0], [0, 7, 8, 9, 0], [0, 5, 6, 0], [0, 7, 7], [0, 5, 6, 0]]


@pytest.fixture
def part(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "part") as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row, ids in enumerate(DOCUMENTS):
            writer.append({"text": "", "input_ids": ids, "iteration": 1, "part": 0, "row": row})
    return tmp_path / "part"


def test_documents_are_scored_by_their_length_and_by_earlier_copies(part: Path) -> None:
    assert scored(text, part, Filter(by="length")) == [2, 3, 2, 2, 2]
    assert scored(text, part, Filter(by="duplicates")) == [0, 0, -1, 0, -2]


def test_documents_are_scored_by_their_cross_entropy_per_token(part: Path, tmp_path: Path) -> None:
    model = Transformer(Shape("gpt2", 16, 1, 2, 32, 16, 260))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    with atomic_file(tmp_path / "tokenizer.json") as scratch:
        train_tokenizer(["a b c"], 260).save(str(scratch))
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with atomic_folder(tmp_path / "checkpoint") as folder:
        save_checkpoint(model, weights, tmp_path / "tokenizer.json", folder)
    found = scored(text, part, Filter(by="cross-entropy"), checkpoint=tmp_path / "checkpoint")
    for ids, value in zip(DOCUMENTS, found, strict=True):
        alone = TokenStore(np.array(ids, dtype="<u2"), np.array([0, len(ids)]))
        assert value == pytest.approx(cross_entropy(model.eval(), alone, torch.device("cpu")), rel=1e-5)
