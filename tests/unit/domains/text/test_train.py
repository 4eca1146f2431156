"""What a training leaves behind, and in which order."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tqdm import tqdm

from selfloop.data import training_set
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.steps import train
from selfloop.jobs.job import Job
from selfloop.planning.check import check

ENTRY = """
domain: text
data: {source: packaged, name: shakespeare, rows: 100}
model: {architecture: gpt2, hidden_size: 8, layers: 1, heads: 2, context: 8, vocabulary: 300}
training: {epochs: 2, batch_size: 4, precision: float32}
regimes: [replace]
iterations: 1
seeds: [0]
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A training on 16 made-up documents."""
    entry = check({"experiments": {"a": yaml.safe_load(ENTRY)}}).experiments["a"]
    real = tmp_path / "real"
    with atomic_folder(real) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row in range(16):
            ids = [END_OF_TEXT_ID, 1 + row, 2 + row, END_OF_TEXT_ID]
            writer.append({"text": "", "input_ids": ids, "iteration": 0, "part": 0, "row": row})
    with atomic_file(tmp_path / "tokenizer.json") as scratch:
        train_tokenizer(["a b c"], 300).save(str(scratch))
    target = str(tmp_path / "training-set")
    takes = [{"amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
    concatenate = training_set.Params(identity="t", takes=takes, budget=None)
    training_set.run(Job({"real": str(real), "parts": [str(real)]}, {"training_set": target}, concatenate))
    state = str(tmp_path / "state")
    return Job(
        input={"training_set": target, "test": str(real), "tokenizer": str(tmp_path / "tokenizer.json")},
        output={"checkpoint": str(tmp_path / "checkpoint"), "learning_curve": str(tmp_path / "curve.parquet")},
        params=train.Params(identity="a", model=entry.model, training=entry.training, state=state),
        progress=tqdm,
    )


def test_the_learning_curve_comes_last_and_says_that_the_training_is_done(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train.run(job)
    assert not Path(job.output["learning_curve"]).exists()
