"""What a training leaves behind, and in which order."""

import logging
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tqdm import tqdm

from selfloop.data import training_set
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.data.shards import ShardWriter
from selfloop.domains.text.config import Training
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.model.batches import DocumentTask
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.steps import train
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.planning.check import check
from selfloop.training import loop

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
    takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
    concatenate = training_set.Params(streams="t", takes=takes, budget=None)
    training_set.run(Job({"real": str(real), "parts": [str(real)]}, {"training_set": target}, concatenate))
    state = str(tmp_path / "state")
    return Job(
        input={"training_set": target, "test": str(real), "tokenizer": str(tmp_path / "tokenizer.json")},
        output={"checkpoint": str(tmp_path / "checkpoint"), "learning_curve": str(tmp_path / "curve.parquet")},
        params=train.Params(streams="a", model=entry.model, training=entry.training, state=state),
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


@pytest.mark.parametrize("packing", [False, True])
def test_what_is_measured_during_a_training_changes_no_byte_of_the_model(
    job: Job[train.Params], tmp_path: Path, packing: bool
) -> None:
    found = set()
    for changes in ({"evaluations": 1}, {"evaluations": 4}, {"evaluations": 4, "evaluation_rows": 3}):
        training = job.params.training.changed(packing=packing, **changes)
        train.run(replace(job, params=job.params.model_copy(update={"training": training})))
        found.add((tmp_path / "checkpoint/model.safetensors").read_bytes())
    assert len(found) == 1


def test_trainings_of_the_same_streams_begin_alike_and_see_their_rows_in_the_same_order(
    job: Job[train.Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their settings, and wherever their rows lie."""
    seen = []

    def noted(_: Any, model: torch.nn.Module, task: DocumentTask, *__: Any) -> None:
        rows = [ids.tolist() for step in range(4) for ids in task.rows(step)]
        seen.append((torch.cat([weight.flatten() for weight in model.parameters()]).tolist(), rows))

    monkeypatch.setattr(train, "train_and_save", noted)
    for changes in ({}, {"learning_rate": 1.0e-2, "epochs": 5}, {"epochs": None, "steps": 9, "clip": 2.0}):
        params = job.params.model_copy(update={"training": job.params.training.changed(**changes)})
        train.run(replace(job, params=params))
    train.run(replace(job, params=job.params.model_copy(update={"streams": "b"})))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] != seen[3][0]
    assert seen[0][1] != seen[3][1]


def test_a_training_begins_with_the_weights_that_it_starts_from(job: Job[train.Params], tmp_path: Path) -> None:
    train.run(replace(job, output={**job.output, "checkpoint": str(tmp_path / "first")}))
    first = load_file(tmp_path / "first/model.safetensors")
    training = job.params.training.changed(epochs=None, steps=1, learning_rate=1.0e-12)
    started = replace(job, params=job.params.model_copy(update={"training": training}))
    found = []
    for more in ({"start": str(tmp_path / "first")}, {}):
        train.run(replace(started, input={**job.input, **more}))
        learnt = load_file(tmp_path / "checkpoint/model.safetensors")
        found.append(all(torch.allclose(learnt[name], first[name], atol=1e-9) for name in first))
    assert found == [True, False]


CUDA = torch.device("cuda")


def test_auto_compiles_long_trainings_on_gpus_where_there_is_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    auto, on = Training(), Training(compile=True)
    (tmp_path / "clang").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "Python.h").touch()
    assert train.compiles(auto, 2000, CUDA)
    assert not train.compiles(auto, 1999, CUDA) and not train.compiles(auto, 2000, torch.device("cpu"))
    (tmp_path / "Python.h").unlink()
    assert not train.compiles(auto, 2000, CUDA)
    with pytest.raises(
        UserError, match=r"training.compile: torch.compile needs .*Python.h .*which is not installed here"
    ):
        train.compiles(on, 1, CUDA)
    (tmp_path / "clang").unlink()
    with caplog.at_level(logging.INFO, "selfloop"):
        assert not train.compiles(auto, 2000, CUDA)
    assert "training without torch.compile, which needs a compiler (gcc, clang, or what CC names)" in caplog.text
    monkeypatch.setenv("CC", "/bin/sh")
    (tmp_path / "Python.h").touch()
    assert train.compiles(on, 1, CUDA)


def test_a_training_with_torch_compile_does_not_go_on_from_the_state_of_one_without(
    job: Job[train.Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprints = []

    def resume(folder: Path, fingerprint: str, every_seconds: float) -> None:
        fingerprints.append(fingerprint)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "ResumeCheckpoint", resume)
    monkeypatch.setattr(Transformer, "compile_hidden", lambda model: None)
    for compiled in (False, False, True):
        monkeypatch.setattr(train, "compiles", lambda *_, compiled=compiled: compiled)
        with pytest.raises(KeyboardInterrupt):
            train.run(job)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize("packing", [False, True])
def test_a_training_in_micro_batches_ends_with_the_same_model_but_for_rounding(
    job: Job[train.Params], tmp_path: Path, packing: bool
) -> None:
    training = job.params.training.changed(packing=packing)
    job = replace(job, params=job.params.model_copy(update={"training": training}))
    found = []
    for rows in (None, 1, 3):
        train.run(replace(job, micro_batch=rows))
        found.append(load_file(tmp_path / "checkpoint/model.safetensors"))
    for name, weight in found[0].items():
        for other in found[1:]:
            torch.testing.assert_close(other[name], weight, rtol=1e-3, atol=1e-5, msg=name)
