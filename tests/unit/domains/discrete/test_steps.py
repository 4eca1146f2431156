"""The steps of the loop, each on its own."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from selfloop.data import training_set
from selfloop.domains.discrete.config import Data, Sampling
from selfloop.domains.discrete.model import aligned, load_checkpoint, measured, model_of, save_checkpoint
from selfloop.domains.discrete.rows import read_counts, real_words, write_words
from selfloop.domains.discrete.steps import generate, prepare_data, train
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams

CATEGORIES = Data(source="categories", types=5, rows=60)
WORDS = Data(source="packaged", name="shakespeare", rows=1000)


def prepare(folder: Path, data: Data, *splits: str) -> Path:
    outputs = {split: str(folder / split) for split in ("train", "test", "validation", *splits)}
    prepare_data.run(Job({}, outputs, prepare_data.Params(data=data)))
    return folder


def test_every_category_is_among_the_test_rows(tmp_path: Path) -> None:
    folder = prepare(tmp_path, CATEGORIES)
    assert sum(read_counts(folder / "train").values()) == 60
    counts = read_counts(folder / "test")
    weights = [1 / k for k in range(1, 6)]
    assert [counts[str(k)] for k in range(1, 6)] == [round(60 * w / sum(weights)) for w in weights]


@pytest.mark.parametrize("data", [CATEGORIES, WORDS])
def test_a_reserve_adds_rows_and_changes_no_others(tmp_path: Path, data: Data) -> None:
    plain = prepare(tmp_path / "a", data)
    more = prepare(tmp_path / "b", data.changed(reserve=0.5), "reserve")
    assert read_counts(plain / "train") == read_counts(more / "train")
    assert sum(read_counts(more / "reserve").values()) == round(0.5 * (data.rows or 0))


def test_a_corpus_has_no_more_words_than_it_has() -> None:
    with pytest.raises(UserError, match=r"data.rows: 100,000,000 asks for 100,000,000 words, and 'shakespeare' has"):
        real_words(WORDS.changed(rows=100_000_000))


def test_models_count_what_they_are_trained_on_with_its_weights(tmp_path: Path) -> None:
    write_words(tmp_path / "real", pa.array(["a", "b", "b"]))
    write_words(tmp_path / "part", pa.array(["b", "c", "c"]), 1)
    take: dict[str, Any] = {"part": 0, "amount": 1.0, "skip": 0.0, "filter": None}
    takes = [{**take, "iteration": 0, "weight": 1.0}, {**take, "iteration": 1, "weight": 3.0}]
    inputs = {"real": str(tmp_path / "real"), "parts": [str(tmp_path / name) for name in ("real", "part")]}
    made = {"training_set": str(tmp_path / "set")}
    training_set.run(Job(inputs, made, training_set.Params(streams="s", takes=takes, budget=None)))
    outputs = {"checkpoint": str(tmp_path / "model"), "learning_curve": str(tmp_path / "curve.parquet")}
    train.run(Job(made, outputs, StepParams()))
    model = load_checkpoint(tmp_path / "model")
    assert dict(zip(model.types, model.counts, strict=True)) == pytest.approx({"c": 3.0, "b": 2.5, "a": 0.5})


def test_samples_follow_the_probabilities(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_checkpoint(model_of({"a": 1.0, "b": 3.0}), tmp_path / "model")
    write_words(tmp_path / "real", pa.array(["a"] * 20_000))
    for temperature, share in ((1.0, 0.25), (0.5, 0.1)):
        params = generate.Params(sampling=Sampling(temperature=temperature), streams="s", iteration=1, part=0)
        inputs = {"checkpoint": str(tmp_path / "model"), "real": str(tmp_path / "real")}
        generate.run(Job(inputs, {"part": str(tmp_path / f"part{temperature}")}, params))
        counts = read_counts(tmp_path / f"part{temperature}")
        assert counts["a"] / 20_000 == pytest.approx(share, abs=0.01)
        assert sum(counts.values()) == 20_000


def test_a_model_is_measured_on_the_types_and_rows_of_the_test_split() -> None:
    model = model_of({"a": 2.0, "b": 2.0, "x": 4.0})
    found = measured(*aligned(model, Counter({"a": 3, "z": 1})))
    uniform = 0.01 / 4  # over a, b, x and z
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {
            "lost_types": 0.5,
            "types": 3,
            "gini_simpson": 1 - (2 * 0.25**2 + 0.5**2),
            "entropy": 2 * 0.25 * math.log(4) + 0.5 * math.log(2),
            "cross_entropy": -(3 * math.log(0.99 * 0.25 + uniform) + math.log(uniform)) / 4,
        }
    )


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    save_checkpoint(model_of({"a": math.nan}), tmp_path)
    with pytest.raises(UserError, match=r"counts in model\.safetensors are not positive"):
        load_checkpoint(tmp_path)
