"""What a study ends in: the artifacts that users rely on, the same bytes every time."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import datasets
import matplotlib.image
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfloop.jobs.record import attempts, recorded_logs
from selfloop.jobs.spec import spec_file
from selfloop.report.step_times import step_times

from .conftest import Workflow
from .damage import unnoticed

REAL_ROWS = 64
CHAIN = ["experiment", "domain", "model", "regime", "sampling", "seed", "iteration"]
ITERATIONS = {
    ("tiny", "replace"): 3,
    ("tiny", "accumulate"): 3,
    ("tiny", "replace-multiple"): 2,
    ("tiny-llama", "replace"): 1,
}
# The parts that each model samples: part 0, and what the next training set takes besides.
PARTS = {
    ("tiny", "replace", 1): [0, 1],
    ("tiny", "replace", 2): [0],
    ("tiny", "accumulate", 3): [0],
    ("tiny", "replace-multiple", 2): [0],
    ("tiny-llama", "replace", 1): [0],
}


def folder(workflow: Workflow, experiment: str, regime: str, iteration: int) -> Path:
    return workflow.folder / workflow.model_folder(experiment, regime, iteration)


def parts(model: Path) -> list[Path]:
    return sorted(path for path in (model / "parts").iterdir() if path.is_dir())


def test_the_metrics_are_one_tidy_table(finished: Workflow) -> None:
    path = finished.folder / "results/metrics.parquet"
    metrics = pd.read_parquet(path)
    assert list(metrics.columns) == [*CHAIN, "part", "split", "metric", "value"]
    assert not metrics.duplicated([*CHAIN, "part", "split", "metric"]).any()
    assert np.isfinite(metrics["value"]).all()
    test = metrics[(metrics["split"] == "test") & (metrics["metric"] == "cross_entropy")]
    iterations = test.groupby(["experiment", "regime"])["iteration"].apply(sorted).to_dict()
    assert iterations == {chain: list(range(1, last + 1)) for chain, last in ITERATIONS.items()}
    synthetic = metrics[metrics["split"] == "synthetic"]
    assert set(synthetic["metric"]) == {
        "cross_entropy_under_first_model",
        "cross_entropy_under_sampling_model",
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "duplicate_share",
        "mean_length",
    }


def test_iteration_1_is_computed_once_and_listed_under_every_regime(finished: Workflow) -> None:
    assert len({finished.model_folder("tiny", regime, 1) for name, regime in ITERATIONS if name == "tiny"}) == 1
    metrics = pd.read_parquet(finished.folder / "results/metrics.parquet")
    first = metrics[
        (metrics["experiment"] == "tiny") & (metrics["iteration"] == 1) & (metrics["metric"] == "cross_entropy")
    ]
    assert sorted(first["regime"]) == ["accumulate", "replace", "replace-multiple"]
    assert first["value"].nunique() == 1


def test_the_learning_curves_are_one_tidy_table(finished: Workflow) -> None:
    curves = pd.read_parquet(finished.folder / "results/learning_curves.parquet")
    assert list(curves.columns) == [*CHAIN, "split", "step", "epoch", "metric", "value"]
    one = curves[(curves["regime"] == "accumulate") & (curves["iteration"] == 3)]
    # Three times 64 documents in batches of 8, one epoch, two evaluations.
    assert sorted(one[one["split"] == "test"]["step"]) == [12, 24]
    assert sorted(one[one["split"] == "test"]["epoch"]) == [0.5, 1.0]
    assert set(one[one["split"] == "train"]["metric"]) == {"loss"}


@pytest.mark.parametrize(("experiment", "architecture"), [("tiny", "gpt2"), ("tiny-llama", "llama")])
def test_a_model_is_a_checkpoint_of_transformers(finished: Workflow, experiment: str, architecture: str) -> None:
    model_folder = folder(finished, experiment, "replace", 1)
    checkpoint = model_folder / "checkpoint"
    assert {path.suffix for path in checkpoint.iterdir()} >= {".safetensors", ".json"}
    assert not list(checkpoint.rglob("*.bin"))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert model.config.model_type == architecture
    speech = "To be, or not to be: that is the question."
    assert tokenizer.decode(tokenizer(speech)["input_ids"], skip_special_tokens=True) == speech

    # The library's own measurement, which may be in bfloat16, against that of transformers' model.
    (test_shard,) = (finished.folder / "results/data").glob("*/tokenized-*/test/*.parquet")
    total, count = 0.0, 0
    for ids in pd.read_parquet(test_shard)["input_ids"]:
        cut = torch.tensor(ids[: model.config.max_position_embeddings], dtype=torch.int64)
        with torch.inference_mode():
            logits = model(cut[None]).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, cut[1:], reduction="sum").item()
        count += len(cut) - 1
    metrics = pd.read_parquet(finished.folder / "results/metrics.parquet")
    ours = metrics[
        (metrics["experiment"] == experiment)
        & (metrics["regime"] == "replace")
        & (metrics["iteration"] == 1)
        & (metrics["metric"] == "cross_entropy")
    ]
    assert ours["value"].item() == pytest.approx(total / count, rel=5e-3)


@pytest.mark.parametrize(("place", "indices"), PARTS.items(), ids=lambda value: str(value))
def test_a_part_has_one_row_for_each_real_one(
    finished: Workflow, place: tuple[str, str, int], indices: list[int]
) -> None:
    model = folder(finished, *place)
    tokenizer = AutoTokenizer.from_pretrained(model / "checkpoint")
    found = [pd.read_parquet(path) for path in parts(model)]
    assert [sorted(set(rows["part"])) for rows in found] == [[index] for index in indices]
    for rows in found:
        assert list(rows.columns) == ["text", "input_ids", "iteration", "part", "row"]
        assert set(rows["iteration"]) == {place[2]}
        assert list(rows["row"]) == list(range(REAL_ROWS))
        assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in rows["input_ids"]] == list(rows["text"])
        assert rows["text"].nunique() > REAL_ROWS // 2
    assert all(not rows["text"].equals(found[0]["text"]) for rows in found[1:])


def test_data_sets_are_parquet_that_datasets_opens_as_they_are(finished: Workflow, tmp_path: Path) -> None:
    (part,) = parts(folder(finished, "tiny", "accumulate", 2))
    opened = datasets.load_dataset(str(part), split="train", cache_dir=str(tmp_path))
    assert opened.num_rows == REAL_ROWS
    shards = list((finished.folder / "results").rglob("*.parquet"))
    assert shards
    for shard in shards:
        held = pq.read_metadata(shard)
        if held.num_rows == 0:  # the validation split that nothing watches
            assert shard.parent.name == "validation"
            continue
        group = held.row_group(0)
        assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}


def test_the_real_data_are_real_text_in_two_splits_that_share_nothing(finished: Workflow) -> None:
    (train,) = (finished.folder / "results/data").glob("*/documents/train")
    texts = {split: list(pd.read_parquet(train.with_name(split))["text"]) for split in ("train", "test")}
    assert {split: len(rows) for split, rows in texts.items()} == {"train": REAL_ROWS, "test": 16}
    assert not set(texts["train"]) & set(texts["test"])
    words = " ".join(texts["train"]).lower().split()
    assert {"the", "and", "my", "you"} <= set(words)


def test_concatenation_copies_no_row(finished: Workflow) -> None:
    training_set = folder(finished, "tiny", "accumulate", 3) / "training-set"
    shards = sorted((training_set / "shards").iterdir())
    assert all(shard.is_symlink() and not shard.readlink().is_absolute() for shard in shards)
    (real,) = (finished.folder / "results/data").glob("*/tokenized-*/train")
    first, second = (parts(folder(finished, "tiny", "accumulate", iteration))[0] for iteration in (1, 2))
    assert [shard.resolve().parent for shard in shards] == [path.resolve() for path in (real, first, second)]
    own = [path for path in training_set.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in own) < 1000
    assert json.loads((training_set / "manifest.json").read_text())["rows"] == 3 * REAL_ROWS
    rows = pa.concat_tables([pq.read_table(shard, columns=["input_ids"]) for shard in shards])
    assert rows.num_rows == 3 * REAL_ROWS


def test_every_figure_shows_something(finished: Workflow) -> None:
    figures = finished.folder / "results/figures"
    names = {path.name for path in figures.glob("[!.]*")}
    stems = ["text-headline", "text-synthetic", "text-profile", "text-bands", "text-perplexity"]
    stems += [f"text-learning-curves-{x}-{scale}" for x in ("epoch", "step") for scale in ("linear", "log")]
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")}
    for path in figures.glob("*.png"):
        pixels = matplotlib.image.imread(path)[..., :3]
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 0.05, path
        coloured = np.ptp(pixels, axis=2) > 0.2  # lines, not only black text and gray grids
        assert coloured.sum() > 100, path
    for path in figures.glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20, path


@pytest.mark.parametrize("name", ["text-headline", "text-trend", "text-samples"])
def test_every_table_is_there_as_csv_and_as_markdown(finished: Workflow, name: str) -> None:
    tables = finished.folder / "results/tables"
    table = pd.read_csv(tables / f"{name}.csv")
    assert {"replace", "accumulate", "replace-multiple"} <= set(table["regime"])
    page = (tables / f"{name}.md").read_text(encoding="utf-8")
    assert "GPT-2" in page and "Llama" in page
    assert re.search(r"^\|.*\|$", page, re.MULTILINE)


def test_the_index_of_chains_says_where_everything_lies(finished: Workflow) -> None:
    chains = pd.read_csv(finished.folder / "results/chains.csv")
    assert len(chains) == sum(ITERATIONS.values())
    for row in chains.itertuples():
        assert row.model_folder == finished.model_folder(row.experiment, row.regime, row.iteration)
        assert all((finished.folder / part).is_dir() for part in row.part_folders.split())


def test_every_step_has_a_log_and_a_record_of_what_was_done_and_how_long_it_took(finished: Workflow) -> None:
    folder = finished.folder / "results/logs"
    logs = sorted(folder.rglob("*.log"))
    assert len(logs) == len(finished.first_run.jobs)
    assert recorded_logs(folder) == logs
    for path in logs:
        assert path.stat().st_size > 0
        (attempt,) = attempts(path)
        step = path.relative_to(folder).parts[0].removesuffix(".log")
        assert attempt.begin.rule.removeprefix("text_") == step  # rules of a domain's own begin with its name
        assert attempt.done is not None and attempt.done.work > 0 and attempt.done.start_up > 0
        assert not spec_file(path).exists()
    times = step_times(folder)
    for rule in ("train", "generate"):
        ((unit, rate),) = times[rule].throughput()
        assert unit == "tokens" and rate > 0
    # The page shows both, each with its unit.
    page = (finished.folder / "results/report/index.html").read_text(encoding="utf-8")
    assert len(re.findall(r"[\d,]+ tokens/s", page)) == 2


def test_a_finished_study_has_nothing_left_to_do(finished: Workflow) -> None:
    done = finished.snakemake()
    assert "Nothing to be done" in done.output
    assert done.jobs == []


def test_a_run_ends_with_the_words_of_the_study_and_the_path_of_its_page(finished: Workflow) -> None:
    words = (finished.folder / "results/report/summary.txt").read_text(encoding="utf-8")
    assert "replace" in words
    assert f"{words}\n\nDone in " in finished.first_run.output
    assert "The page: results/report/index.html" in finished.first_run.output


def test_nothing_is_left_that_is_no_artifact(finished: Workflow) -> None:
    assert finished.results("state") == {}
    assert [path for path in (finished.folder / "results").rglob("*.partial")] == []


def test_the_same_study_gives_the_same_bytes(finished: Workflow, tmp_path: Path) -> None:
    again = Workflow.fresh(tmp_path / "elsewhere", finished.config)
    again.snakemake(cores=1)
    assert again.results() == finished.results()


def test_without_the_preloaded_process_the_bytes_are_the_same(copy: Workflow) -> None:
    before = copy.results()
    shutil.rmtree(folder(copy, "tiny-llama", "replace", 1))
    for name in ("metrics.parquet", "learning_curves.parquet"):
        (copy.folder / "results" / name).unlink()
    done = copy.snakemake("--no-hooks")  # it is started by a hook
    assert {"train tiny-llama-1 seed0", "generate tiny-llama-1 seed0 t1-part0", "plot_headline"} <= set(done.jobs)
    assert copy.results() == before


def test_a_step_that_fails_shows_its_message(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "tiny", "tests/studies/tiny.yaml")

    def no_document_is_so_long(study: dict[str, Any]) -> None:
        study["experiments"]["tiny"]["data"].update(min_characters=10**6)

    workflow.change(no_document_is_so_long)
    failed = workflow.snakemake(code=1)
    assert failed.jobs == ["prepare_data"]
    (message,) = re.findall(r"^selfloop: .*$", failed.output, re.MULTILINE)
    assert message.startswith("selfloop: prepare_data: data: the train split holds no document of at least")
    assert "Traceback" not in failed.output
    assert workflow.results("data", "models") == {}


def test_no_damage_to_an_artifact_goes_unnoticed(finished: Workflow, tmp_path: Path) -> None:
    folder = finished.copy(tmp_path / "copy").folder
    assert list(unnoticed(folder / "results")) == []
