"""Which conformations, times and noise a training step sees; resuming; the test losses."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.domains.molecule.config import Model, Sampling, Training
from selfloop.domains.molecule.data import graph
from selfloop.domains.molecule.data.conformations import Conformations, read_conformations, write_conformations
from selfloop.domains.molecule.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.molecule.model.loss import evaluation_rows, held_out_losses, losses, row_losses
from selfloop.domains.molecule.model.network import build
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.model.sampler import sample
from selfloop.domains.molecule.steps import train as training_step
from selfloop.domains.molecule.steps.train import ConformationTask
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.operations.gpu.launches import of_training_step
from selfloop.processes.stopping import Stopped
from selfloop.training.distributed import ProcessGroup
from selfloop.training.loop import fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.optimizer import FlatWeights
from selfloop.training.resume import ResumeCheckpoint

CPU = torch.device("cpu")
MODEL = Model(hidden_size=8, global_layers=1, local_layers=2, cutoff=5.0, timesteps=100, beta_start=1e-6, beta_end=0.05)
TRAINING = Training(clip=1e4, evaluations=2, patience=1)


def task(molecules: Conformations, steps: int = 8, batch_size: int = 4, seed: int = 1) -> ConformationTask:
    return ConformationTask(molecules, molecules, sigmas(MODEL), steps, batch_size, seed, CPU)


def test_every_epoch_sees_every_conformation_once_in_another_order(molecules: Conformations) -> None:
    one = task(molecules)
    epochs = [np.concatenate([one.rows(step) for step in range(begin, begin + 3)]) for begin in (0, 3)]
    assert one.batches_per_epoch == 3
    assert all(sorted(epoch) == list(range(len(molecules))) for epoch in epochs)
    assert not np.array_equal(*epochs)


def test_the_number_of_steps_does_not_depend_on_the_training_set(molecules: Conformations) -> None:
    assert task(molecules, steps=7).steps == 7


def test_a_batch_is_a_function_of_its_step_and_the_seed(molecules: Conformations) -> None:
    forwards, backwards, other = task(molecules), task(molecules), task(molecules, seed=2)
    expected = [forwards.batch(step) for step in range(8)]
    for step in reversed(range(8)):
        found = backwards.batch(step)
        assert torch.equal(found.noise, expected[step].noise) and torch.equal(found.levels, expected[step].levels)
        assert torch.equal(found.positions, expected[step].positions)
    assert not torch.equal(other.batch(0).noise, expected[0].noise)
    assert not torch.equal(expected[0].noise[:9], expected[3].noise[:9])  # the next epoch's noise is new


def test_the_loss_is_a_mean_over_atoms_of_both_terms(molecules: Conformations) -> None:
    one, model = task(molecules), build(MODEL, 0)
    batch = one.batch(0)
    found = losses(model, *batch[:4])
    assert one.loss(model, batch).item() == pytest.approx((found.remote + found.local).item() / len(batch.positions))
    assert one.size(batch) == 4


def test_the_losses_of_shares_add_up_to_that_of_a_batch_whose_noise_they_have(molecules: Conformations) -> None:
    one, model = task(molecules, batch_size=3), build(MODEL, 0)
    for step in (0, 3):  # the last of an epoch has one molecule
        shares = [one.share(ProcessGroup(rank, 2)) for rank in range(2)]
        batches = [share.batch(step) for share in shares]
        added = sum(share.loss(model, batch).item() for share, batch in zip(shares, batches, strict=True))
        assert added == pytest.approx(one.loss(model, one.batch(step)).item(), rel=1e-5)
        assert sum(map(one.size, batches)) == one.size(one.batch(step))
    assert torch.equal(one.share(ProcessGroup(0, 1)).batch(0).noise, one.batch(0).noise)


class _Quiet:
    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __enter__(self) -> "_Quiet":
        return self

    def __exit__(self, *_: object) -> None: ...
    def update(self, _: int) -> None: ...
    def set_postfix_str(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture
def train(molecules: Conformations) -> Callable[..., dict[str, torch.Tensor]]:
    """Trains the small model, and stops after a step if asked to."""

    def run(folder: Path, stop_after: int | None = None) -> dict[str, torch.Tensor]:
        one = task(molecules)
        model, state = build(MODEL, 3), ResumeCheckpoint(folder, "same", every_seconds=1e9)
        if stop_after is not None:
            original = one.batch

            def batch(step: int) -> Any:
                if step == stop_after:
                    os.kill(os.getpid(), signal.SIGTERM)
                return original(step)

            one.batch = batch  # type: ignore[method-assign]
        return fit(model, one, OptimizerConfig.of(TRAINING), state, CPU, _Quiet).weights

    return run


@pytest.mark.parametrize("stop_after", [0, 3, 5])
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    train: Callable[..., dict[str, torch.Tensor]], tmp_path: Path, stop_after: int
) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", stop_after)
    resumed = train(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_learning_curve_comes_last_and_says_that_the_training_is_done(
    molecules: Conformations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    real, target, curve = str(tmp_path / "real"), str(tmp_path / "training-set"), tmp_path / "curve.parquet"
    write_conformations((molecules[row] for row in range(len(molecules))), Path(real))
    takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
    concatenate = training_set.Params(streams="t", takes=takes, budget=None)
    training_set.run(Job({"real": real, "parts": [real]}, {"training_set": target}, concatenate))
    training = TRAINING.changed(steps=2, batch_size=4)
    params = training_step.Params(streams="a", model=MODEL, training=training, state=str(tmp_path / "state"))
    outputs = {"checkpoint": str(tmp_path / "checkpoint"), "learning_curve": str(curve)}
    monkeypatch.setattr(training_step, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        training_step.run(Job({"training_set": target, "test": real}, outputs, params, progress=_Quiet))
    assert not curve.exists()


def test_a_training_begins_with_the_weights_that_it_starts_from(molecules: Conformations, tmp_path: Path) -> None:
    real, target = tmp_path / "real", str(tmp_path / "training-set")
    write_conformations((molecules[row] for row in range(len(molecules))), real)
    takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
    concatenate = training_set.Params(streams="t", takes=takes, budget=None)
    training_set.run(Job({"real": str(real), "parts": [str(real)]}, {"training_set": target}, concatenate))
    first = build(MODEL, 9).state_dict()
    with atomic_folder(tmp_path / "first") as scratch:
        save_checkpoint(first, MODEL, scratch)
    training = TRAINING.changed(steps=1, batch_size=4, learning_rate=1e-12, schedule="constant")
    params = training_step.Params(streams="a", model=MODEL, training=training, state=str(tmp_path / "state"))
    outputs = {"checkpoint": str(tmp_path / "checkpoint"), "learning_curve": str(tmp_path / "curve.parquet")}
    inputs = {"training_set": target, "test": str(real), "start": str(tmp_path / "first")}
    training_step.run(Job(inputs, outputs, params, progress=_Quiet))
    learnt, _ = load_checkpoint(tmp_path / "checkpoint")
    assert all(torch.allclose(tensor, first[name], atol=1e-9) for name, tensor in learnt.state_dict().items())


def test_what_is_measured_during_a_training_changes_no_bit_of_the_model(molecules: Conformations) -> None:
    found = []
    for evaluations in (1, 4):
        config = OptimizerConfig.of(TRAINING.changed(schedule="cosine", evaluations=evaluations))
        one = task(molecules, steps=6)
        found.append(fit(build(MODEL, 3), one, config, ResumeCheckpoint(Path("nowhere"), "x", 1e9), CPU, _Quiet))
    assert [len(each.curve) for each in found] == [1, 4]
    assert all(torch.equal(tensor, found[1].weights[name]) for name, tensor in found[0].weights.items())


def test_a_trained_referee_finds_real_conformations_likelier_than_others(
    molecules: Conformations, tmp_path: Path
) -> None:
    section = MODEL.changed(hidden_size=16)
    model = build(section, 0)
    one = ConformationTask(molecules, molecules, sigmas(section), 300, 10, 1, CPU)
    schedule = OptimizerConfig.of(TRAINING.changed(learning_rate=5e-3, schedule="cosine"))
    fit(model, one, schedule, ResumeCheckpoint(Path("nowhere"), "x", 1e9), CPU, _Quiet)
    generator = np.random.default_rng(0)
    others = [molecules[row] for row in range(len(molecules))]
    moved = [each.coordinates + generator.normal(scale=0.5, size=each.coordinates.shape) for each in others]
    write_conformations(
        [replace(each, coordinates=to.astype(np.float32)) for each, to in zip(others, moved, strict=True)],
        tmp_path / "moved",
    )
    found = row_losses(model.eval(), sigmas(section), molecules, CPU)
    assert (found < row_losses(model, sigmas(section), read_conformations(tmp_path / "moved"), CPU)).all()


def test_a_plateau_watches_the_validation_molecules_after_the_test_losses(molecules: Conformations) -> None:
    one = ConformationTask(molecules, molecules, sigmas(MODEL), 8, 4, 1, CPU, molecules)
    found = one.evaluate(build(MODEL, 3))
    names = ["loss_total", "loss_global", "loss_local"]
    assert list(found) == [*names, *(f"validation_{name}" for name in names)]
    assert found["validation_loss_total"] == found["loss_total"]  # of the same molecules


def test_training_lowers_the_test_loss(molecules: Conformations) -> None:
    model, one = build(MODEL, 3), task(molecules, steps=150)
    before = one.evaluate(model)
    schedule = OptimizerConfig.of(TRAINING.changed(learning_rate=5e-3, schedule="cosine"))
    found = fit(model, one, schedule, ResumeCheckpoint(Path("nowhere"), "x", 1e9), CPU, _Quiet)
    assert found.curve[-1]["loss_total"] < 0.6 * before["loss_total"]
    assert list(found.curve[-1]) == ["step", "epoch", "loss", "loss_total", "loss_global", "loss_local"]


def test_the_test_losses_are_the_same_every_time_and_add_up(molecules: Conformations) -> None:
    model = build(MODEL, 0)
    rows = np.arange(len(molecules))
    one, same = (held_out_losses(model, sigmas(MODEL), molecules, rows, CPU, draws=3) for _ in range(2))
    assert one == same
    assert one["loss_total"] == pytest.approx(one["loss_global"] + one["loss_local"])
    assert one != held_out_losses(build(MODEL, 1), sigmas(MODEL), molecules, rows, CPU, draws=3)


def test_the_loss_of_a_conformation_does_not_depend_on_others_nor_much_on_its_noise(
    molecules: Conformations, tmp_path: Path
) -> None:
    model = build(MODEL, 0)
    found = row_losses(model, sigmas(MODEL), molecules, CPU)
    first = [molecules[row] for row in range(3)]
    write_conformations(first, tmp_path / "first")
    alone = row_losses(model, sigmas(MODEL), read_conformations(tmp_path / "first"), CPU)
    np.testing.assert_allclose(found[:3], alone, rtol=1e-4)
    atoms = np.array([len(molecules[row].atomic_numbers) for row in range(len(molecules))])
    mean = held_out_losses(model, sigmas(MODEL), molecules, np.arange(len(molecules)), CPU, draws=32)["loss_total"]
    assert np.average(found, weights=atoms) == pytest.approx(mean, rel=0.1)


def test_the_learning_curve_is_measured_on_rows_spread_evenly(molecules: Conformations) -> None:
    assert evaluation_rows(molecules).tolist() == list(range(len(molecules)))


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    model = build(MODEL, 4)
    save_checkpoint(model.state_dict(), MODEL, tmp_path)
    found, config = load_checkpoint(tmp_path)
    assert config == MODEL
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), found.parameters(), strict=True))


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path) -> None:
    save_checkpoint(build(MODEL, 4).state_dict(), MODEL.changed(hidden_size=16), tmp_path)
    with pytest.raises(UserError, match="does not fit"):
        load_checkpoint(tmp_path)


def test_weights_multiply_the_squared_errors_of_their_conformations(molecules: Conformations) -> None:
    weights = np.array([0.5] * 6 + [1.75] * (len(molecules) - 6))
    tasks = [
        ConformationTask(molecules, molecules, sigmas(MODEL), 8, 4, 1, CPU, weights=each)
        for each in (None, weights, np.ones(len(molecules)))
    ]
    model = build(MODEL, 1)
    plain, weighted, ones = (task.batch(0) for task in tasks)
    assert torch.equal(tasks[0].loss(model, plain), tasks[2].loss(model, ones))
    alone = []  # each conformation of the batch on its own, with its noise
    for place in range(plain.molecules.molecules):
        only = torch.where(plain.molecules.molecule == place, 1.0, 0.0)
        terms = losses(model, plain.molecules, plain.positions, plain.levels, plain.noise, only)
        alone.append(terms.remote + terms.local)
    expected = sum(weights[row] * loss for row, loss in zip(tasks[1].rows(0), alone, strict=True)) / len(
        plain.positions
    )
    torch.testing.assert_close(tasks[1].loss(model, weighted), expected.float(), rtol=1e-4, atol=1e-5)


def test_with_far_pairs_kept_as_on_a_gpu_losses_gradients_and_samples_are_the_same(
    molecules: Conformations, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for kept in (False, True):
        monkeypatch.setattr(graph, "has_few_shapes", lambda device, kept=kept: kept)
        model, one = build(MODEL, 3), task(molecules)
        weights = FlatWeights(model, torch.float32)
        batch = one.batch(0)
        pairs = len(graph.pairs_within(batch.molecules, batch.positions, MODEL.cutoff).first)
        loss = one.loss(model, batch)
        weights.backward(loss)
        samples, _ = sample(model, MODEL, Sampling(steps=5, global_below=5.0), molecules, [0, 3], "a")
        found.append((pairs, loss.detach(), weights.gradient, torch.from_numpy(np.concatenate(samples))))
    (fewer, *expected), (more, *same) = found
    assert fewer < more
    for mine, theirs in zip(same, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_a_training_step_of_a_gpu_never_waits_for_it(molecules: Conformations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "has_few_shapes", lambda device: True)
    model, one = build(MODEL, 3), task(molecules)
    launches = of_training_step(model, one, torch.float32)
    assert launches.waits == {}
    assert launches.total < 450
