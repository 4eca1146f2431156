"""What a training step sees, that training goes on bit for bit, and what becomes of one that explodes."""

import json
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter, count_rows
from selfloop.domains.image.config import Model, Sampling, Training
from selfloop.domains.image.data import image_store
from selfloop.domains.image.model.checkpoint import save_checkpoint
from selfloop.domains.image.model.loss import terms
from selfloop.domains.image.model.network import Shape, build
from selfloop.domains.image.steps import evaluate_part, generate, train
from selfloop.domains.image.steps.train import ImageTask
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.operations.gpu.launches import of_training_step
from selfloop.processes.stopping import Stopped
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup

from .conftest import blobs

CPU = torch.device("cpu")
TRAINING = Training(epochs=3.0, batch_size=8, kl_weight=0.001, decay=0.9, evaluations=3, precision="float32")


def task(rows: int = 21, streams: str = "a", group: ProcessGroup = SINGLE_PROCESS, **training: Any) -> ImageTask:
    """A task whose images are all different and, the first column aside, gray."""
    images = np.full((rows, 1, 8, 8), 100, dtype=np.uint8)
    images[:, 0, :, 0] = np.arange(rows)[:, None]
    return ImageTask(images, blobs(5), TRAINING.changed(**training), 4, streams, CPU, group)


def seen(task: ImageTask, steps: range) -> list[int]:
    """The images of some steps, by number, flipped or not."""
    found = []
    for step in steps:
        images = task.batch(step).images
        found += torch.where(images[:, 0, 0, 0] == 100, images[:, 0, 0, -1], images[:, 0, 0, 0]).tolist()
    return found


def test_every_epoch_sees_every_image_once_in_batches_of_equal_size() -> None:
    one = task()
    assert (one.steps_per_epoch, one.steps) == (3, 9)
    for epoch in (range(3), range(3, 6)):
        assert sorted(seen(one, epoch)) == list(range(21))
    assert seen(one, range(3)) != seen(one, range(3, 6))
    assert {one.size(one.batch(step)) for step in range(9)} == {7}


@pytest.mark.parametrize(("batch", "processes"), [(2, 1), (3, 1), (4, 2), (5, 2), (8, 4)])
def test_a_batch_has_two_images_and_every_process_one_of_them(batch: int, processes: int) -> None:
    for rows in range(batch, 6 * batch):
        shares = [task(rows=rows, group=ProcessGroup(rank, processes), batch_size=batch) for rank in range(processes)]
        steps = range(shares[0].batches_per_epoch)
        assert min(sum(each.size(each.batch(step)) for each in shares) for step in steps) >= 2
        assert min(each.size(each.batch(step)) for each in shares for step in steps) >= 1
        assert sorted(number for each in shares for number in seen(each, steps)) == list(range(rows))
        assert len(steps) == task(rows=rows, batch_size=batch).batches_per_epoch  # however many processes there are


def test_steps_go_round_the_training_set_whatever_its_size() -> None:
    for rows in (9, 30, 60):
        one = task(rows=rows, epochs=None, steps=12)
        assert one.steps == 12
        assert seen(one, range(one.batches_per_epoch)) != list(range(rows))
        assert sorted(seen(one, range(one.batches_per_epoch))) == list(range(rows))


def test_an_odd_image_trains_with_batches_of_two_and_an_encoder_that_ends_at_a_pixel() -> None:
    one, model = task(rows=5, batch_size=2), build(Shape(8, "gray", (4, 4, 4), 4), 0)
    assert all(torch.isfinite(one.loss(model, one.batch(step))) for step in range(one.steps))


def test_a_batch_is_a_function_of_its_step_and_the_training_alone() -> None:
    forwards, backwards, other = task(), task(), task(streams="b")
    expected = [forwards.batch(step) for step in range(9)]
    torch.manual_seed(3)
    for step in reversed(range(9)):
        assert all(torch.equal(a, b) for a, b in zip(backwards.batch(step)[:2], expected[step][:2], strict=True))
    assert seen(other, range(3)) != seen(forwards, range(3))
    assert not torch.equal(expected[0][1], expected[1][1])


def test_about_half_the_images_are_mirrored_and_none_where_flip_is_off() -> None:
    def flipped(one: ImageTask) -> float:
        return float(np.mean([(one.batch(step)[0][:, 0, 0, 0] == 100).float().mean() for step in range(one.steps)]))

    assert 0.4 < flipped(task(rows=90, epochs=5)) < 0.6
    assert flipped(task(rows=90, flip=False)) == 0


def test_the_loss_is_the_mean_of_both_terms() -> None:
    one, model = task(), build(Shape(8, "gray", (4,), 4), 0)
    batch = one.batch(0)
    with torch.no_grad():
        error, divergence = terms(model, *batch[:2])
        loss = one.loss(model, batch).item()
    assert loss == pytest.approx(float(error.mean() + 0.001 * divergence.mean()))


def test_processes_share_every_batch_and_their_losses_add_up_to_its_own() -> None:
    model = build(Shape(8, "gray", (4,), 4), 0).eval()
    alone, shares = task(), [task(group=ProcessGroup(rank, 3)) for rank in range(3)]
    for step in range(alone.steps):
        found = [number for each in shares for number in seen(each, range(step, step + 1))]
        assert sorted(found) == sorted(seen(alone, range(step, step + 1)))
        with torch.no_grad():
            parts = sum(each.loss(model, each.batch(step)).item() for each in shares)
            assert parts == pytest.approx(alone.loss(model, alone.batch(step)).item(), rel=1e-5)


# --- the steps -----------------------------------------------------------------------------------------------------


def write(folder: Path, images: np.ndarray) -> Path:
    with atomic_folder(folder) as scratch, ShardWriter(scratch, image_store.SCHEMA) as writer:
        for data in image_store.encode_png(images):
            writer.append({"image": {"bytes": data}})
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A training of 60 made-up images."""
    real, test = write(tmp_path / "real", blobs(60)), write(tmp_path / "test", blobs(12, seed=1))
    takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
    concatenate = training_set.Params(streams="t", takes=takes, budget=None)
    target = tmp_path / "training-set"
    training_set.run(Job({"real": str(real), "parts": [str(real)]}, {"training_set": str(target)}, concatenate))
    return Job(
        input={"training_set": str(target), "test": str(test)},
        output={"checkpoint": str(tmp_path / "checkpoint"), "learning_curve": str(tmp_path / "curve.parquet")},
        params=train.Params(
            streams="a", model=Model(channels=[4, 8], latent=4), training=TRAINING, state=str(tmp_path / "state")
        ),
        progress=tqdm,
    )


def trained_otherwise(job: Job, **changes: Any) -> Job:
    """The job with other values of some keys of `training`."""
    return replace(job, params=job.params.model_copy(update={"training": TRAINING.changed(**changes)}))


def weights(job: Job) -> dict[str, torch.Tensor]:
    return load_file(Path(job.output["checkpoint"]) / "model.safetensors")


@pytest.mark.parametrize("start", ["scratch", "previous"])
def test_a_training_that_is_stopped_goes_on_to_the_same_bits(
    job: Job, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if start == "previous":
        shape = Shape.of(8, "gray", job.params.model)
        with atomic_folder(tmp_path / "before") as scratch:
            save_checkpoint(shape, 0.001, build(shape, 7).state_dict(), scratch)
        job = replace(job, input={**job.input, "start": str(tmp_path / "before")})
    train.run(job)
    assert not Path(job.params.state).exists()
    expected, curve = weights(job), pq.read_table(job.output["learning_curve"])
    real_batch, asked = ImageTask.batch, []

    def stopping(self: ImageTask, step: int) -> Any:
        asked.append(step)
        if len(asked) == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return real_batch(self, step)

    monkeypatch.setattr(ImageTask, "batch", stopping)
    with pytest.raises(Stopped):
        train.run(job)
    train.run(job)
    assert asked == [*range(11), *range(11, 24)]  # no step was done again
    assert all(torch.equal(weights(job)[name], expected[name]) for name in expected)
    assert any("mean" in name and tensor.abs().sum() > 0 for name, tensor in expected.items() if "encoder" in name)
    assert pq.read_table(job.output["learning_curve"]) == curve
    assert [path.name for path in Path(job.params.state).iterdir()] == ["state.safetensors"]  # until it is evaluated


def test_a_training_begins_with_the_weights_that_it_starts_from(job: Job, tmp_path: Path) -> None:
    train.run(replace(job, output={**job.output, "checkpoint": str(tmp_path / "first")}))
    first = load_file(tmp_path / "first/model.safetensors")
    started = trained_otherwise(job, epochs=None, steps=1, learning_rate=1e-12)
    train.run(replace(started, input={**job.input, "start": str(tmp_path / "first")}))
    learnt = [name for name, _ in build(Shape.of(8, "gray", job.params.model), 1).named_parameters()]
    assert all(torch.allclose(weights(job)[name], first[name], atol=1e-9) for name in learnt)
    train.run(started)
    assert not all(torch.allclose(weights(job)[name], first[name], atol=1e-3) for name in learnt)


def test_what_is_measured_during_a_training_changes_no_byte_of_the_model(job: Job) -> None:
    found = set()
    for evaluations in (1, 4):
        train.run(trained_otherwise(job, evaluations=evaluations))
        found.add((Path(job.output["checkpoint"]) / "model.safetensors").read_bytes())
    assert len(found) == 1


def test_a_plateau_watches_the_validation_images_and_the_test_images_only_measure(job: Job, tmp_path: Path) -> None:
    watched = str(write(tmp_path / "watched", blobs(10, seed=2)))
    waiting = trained_otherwise(job, schedule="plateau", patience=0, decay=0.1, evaluations=8)
    waiting = replace(waiting, input={**job.input, "validation": watched})
    train.run(waiting)
    expected, curve = weights(job), pq.read_table(job.output["learning_curve"]).to_pandas()
    assert set(curve["split"]) == {"train", "test", "validation"}
    own = {
        split: curve[(curve["split"] == split) & (curve["metric"] == "total_loss")] for split in ("test", "validation")
    }
    assert len(own["validation"]) == len(own["test"]) == 8
    other = str(write(tmp_path / "other", 255 - blobs(12, seed=3)))
    train.run(replace(waiting, input={**waiting.input, "test": other}))
    assert all(torch.equal(weights(job)[name], expected[name]) for name in expected)


def test_the_learning_curve_comes_last_and_says_that_the_training_is_done(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train.run(job)
    assert not Path(job.output["learning_curve"]).exists()


def test_a_training_that_explodes_ends_with_a_message_and_leaves_no_checkpoint(job: Job) -> None:
    wild = trained_otherwise(job, learning_rate=1e30, clip=1e30)
    with pytest.raises(UserError, match=r"(loss|kl_nats) became (nan|inf) before step \d+; try a lower learning_rate"):
        train.run(wild)
    assert not Path(job.output["checkpoint"]).exists()


def test_too_few_images_for_a_batch_are_named(job: Job) -> None:
    large = trained_otherwise(job, batch_size=61)
    with pytest.raises(UserError, match=r"has 60 images, fewer than training\.batch_size, 61"):
        train.run(large)


def test_a_part_has_as_many_images_as_the_real_split_and_is_measured(job: Job, tmp_path: Path) -> None:
    train.run(job)
    inputs = {"checkpoint": job.output["checkpoint"], "real": str(tmp_path / "real")}
    params = generate.Params(streams="p", sampling=Sampling(), precision="float32", iteration=3, part=2)
    sampling = Job(inputs, {"part": str(tmp_path / "part")}, params, progress=tqdm)
    generate.run(sampling)
    assert count_rows(tmp_path / "part") == 60
    row = pq.read_table(tmp_path / "part").to_pylist()[7]
    assert (row["iteration"], row["part"], row["row"], row["person"]) == (3, 2, 7, None)
    before = (tmp_path / "part" / "shard-00000.parquet").read_bytes()
    generate.run(sampling)
    assert (tmp_path / "part" / "shard-00000.parquet").read_bytes() == before
    paths = {**inputs, "part": str(tmp_path / "part")}
    measuring = Job(paths, {"measurements": str(tmp_path / "m.json")}, evaluate_part.Params(part=2))
    evaluate_part.run(measuring)
    rows = {row["metric"]: row["value"] for row in json.loads((tmp_path / "m.json").read_text())}
    assert set(rows) == {"covariance_trace_ratio", "covariance_log_determinant_ratio"}
    assert all(np.isfinite(value) for value in rows.values())


def test_only_a_bounded_number_of_images_is_compared(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(evaluate_part, "MAX_IMAGES", 20)
    paths = {"real": str(tmp_path / "real"), "part": str(tmp_path / "test")}
    output = {"measurements": str(tmp_path / "m.json")}
    measuring = Job(paths, output, evaluate_part.Params(part=0), log=logging.getLogger("image"))
    with caplog.at_level(logging.INFO, logger="image"):
        evaluate_part.run(measuring)
    assert "12 sampled and 20 real images compared in 5 principal components" in caplog.text


def test_weights_multiply_the_losses_of_their_images_and_change_no_batch() -> None:
    images, weights = blobs(21), np.linspace(0.1, 1.9, 21)
    plain, weighted, ones = (
        ImageTask(images, blobs(5), TRAINING, 4, "a", CPU, weights=each) for each in (None, weights, np.ones(21))
    )
    model = build(Shape.of(8, "gray", Model(channels=[2], latent=4)), 1)
    for step in range(3):
        drawn = weighted.batch(step)
        *batch, found = drawn
        assert all(
            torch.equal(torch.as_tensor(a), torch.as_tensor(b))
            for a, b in zip(batch, plain.batch(step)[:3], strict=True)
        )
        rows = weighted._batches(0)[step]
        np.testing.assert_allclose(found, weights[rows], rtol=1e-6)
        error, divergence = terms(model, batch[0], batch[1])
        expected = ((error + TRAINING.kl_weight * divergence) * found).mean()
        torch.testing.assert_close(weighted.loss(model, drawn), expected)
        assert torch.equal(ones.loss(model, ones.batch(step)), plain.loss(model, plain.batch(step)))


def test_a_training_step_of_a_gpu_never_waits_for_it() -> None:
    launches = of_training_step(build(Shape(8, "gray", (4, 8), 4), 0), task())
    assert launches.waits == {}
    assert launches.total < 200
