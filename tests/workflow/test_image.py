"""The image domain through the whole loop: every artifact opens in its ecosystem, and the grids show what they say."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file

from .conftest import Workflow
from .damage import unnoticed


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The study of faces in seconds, run once."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("faces") / "faces", "tests/studies/faces.yaml")
    workflow.first_run = workflow.snakemake()
    return workflow


def chain(faces: Workflow, regime: str, iteration: int) -> pd.Series:
    """The row of the index of a model."""
    chains = pd.read_csv(faces.folder / "results/chains.csv").set_index(["regime", "iteration"])
    return chains.loc[(regime, iteration)]


def test_every_image_is_a_file_that_any_reader_opens(faces: Workflow) -> None:
    (real,) = (faces.folder / "results/data").glob("*/documents/train")
    part = faces.folder / chain(faces, "replace", 2)["part_folders"]
    for folder, iteration in ((real, 0), (part, 2)):
        rows = pq.read_table(folder).to_pylist()
        assert [row["row"] for row in rows] == list(range(96))
        assert {row["iteration"] for row in rows} == {iteration}
        images = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows]
        assert {(image.format, image.mode, image.size) for image in images} == {("PNG", "L", (16, 16))}
    persons = [set(pd.read_parquet(real.parent / split)["person"]) for split in ("train", "test")]
    assert not persons[0] & persons[1]


def test_accumulate_links_the_real_images_and_the_sampled_ones(faces: Workflow) -> None:
    folder = faces.folder / chain(faces, "accumulate", 2)["model_folder"]
    assert pq.read_table(folder / "training-set" / "shards").num_rows == 2 * 96
    weights = load_file(folder / "checkpoint" / "model.safetensors")
    assert weights["encoder.0.1.mean"].abs().sum() > 0  # statistics are part of the checkpoint


def test_the_tables_hold_the_loss_its_parts_and_what_the_samples_are_like(faces: Workflow) -> None:
    metrics = pd.read_parquet(faces.folder / "results/metrics.parquet")
    wide = metrics[metrics["split"] == "test"].pivot_table(
        index=["regime", "iteration"], columns="metric", values="value"
    )
    assert len(wide) == 4
    assert np.allclose(wide["total_loss"], wide["reconstruction_mse"] + 0.00025 * wide["kl_nats"])
    sampled = metrics[metrics["split"] == "synthetic"]
    assert {"covariance_trace_ratio", "covariance_log_determinant_ratio"} == set(sampled["metric"])
    assert np.isfinite(metrics["value"]).all()
    curves = pd.read_parquet(faces.folder / "results/learning_curves.parquet")
    last = (
        curves[(curves["split"] == "test") & (curves["metric"] == "total_loss")].groupby(["regime", "iteration"]).last()
    )
    assert np.allclose(last["value"], wide["total_loss"], rtol=0.02)


@pytest.mark.parametrize("name", ["samples", "reconstructions", "headline", "synthetic"])
def test_every_figure_is_there(faces: Workflow, name: str) -> None:
    path = faces.folder / "results" / "figures" / f"image-{name}.png"
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.std() > 5
    assert path.with_suffix(".svg").stat().st_size > 1000


def test_how_the_grids_look_trains_nothing_and_other_samples_redraw_them(faces: Workflow) -> None:
    def append(name: str) -> Path:
        path = faces.folder / "src/selfloop/domains/image" / name
        path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
        return path

    assert faces.would_run() == set()
    append("figures.py")
    assert faces.would_run() == {"image_plot_samples", "image_plot_reconstructions", "write_report"}
    append("model/sampler.py")
    jobs = faces.would_run()
    assert "image_plot_samples" in jobs
    assert not {job for job in jobs if job.startswith("train faces-1")}
    assert {job for job in jobs if job.startswith("generate faces-1")}


def test_no_damage_to_an_artifact_goes_unnoticed(faces: Workflow, tmp_path: Path) -> None:
    folder = faces.copy(tmp_path / "copy").folder
    assert list(unnoticed(folder / "results")) == []
