"""Training: AdamW as it is defined, and a run that is stopped ends as one that is not."""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.processes.stopping import Stopped
from selfloop.training import saved_state
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.loop import Fit, fit, micro_batches
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.optimizer import FlatWeights, Optimizer
from selfloop.training.resume import ResumeCheckpoint

CPU = torch.device("cpu")
STEPS = 12

SCHEDULE = OptimizerConfig(
    learning_rate=0.05,
    final_learning_rate=0.1,
    warmup_steps=3,
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.95,
    clip=1.0,
    evaluations=3,
    precision="float32",
)


def schedule(**changes: Any) -> OptimizerConfig:
    return OptimizerConfig(**{**SCHEDULE.__dict__, **changes})


def network() -> nn.Module:
    """A small model with matrices, biases and a norm, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 4))


class Regression:
    """A task that calls `at_step` before it gives out the batch of a step."""

    steps = STEPS
    steps_per_epoch = 6.0
    unit = "rows"

    def __init__(self, at_step: Callable[[int], None] = lambda step: None, scale: float = 1.0) -> None:
        self.at_step = at_step
        self.scale = scale
        self.evaluated: list[int] = []

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        self.at_step(step)
        generator = torch.Generator().manual_seed(step)
        return torch.randn(5, 6, generator=generator), torch.randn(5, 4, generator=generator)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        dtype = next(model.parameters()).dtype
        return ((model(inputs.to(dtype)) - targets) ** 2).mean() * self.scale

    def graph_key(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Hashable | None:
        return batch[0].shape

    def size(self, batch: tuple[Tensor, Tensor]) -> int:
        return len(batch[0])

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            return {"error": self.loss(model, Regression().batch(1000)).item()}


def state(folder: Path, fingerprint: str = "mine", every_seconds: float = 0.0) -> ResumeCheckpoint:
    """A state that is saved after every step."""
    return ResumeCheckpoint(folder / "state", fingerprint, every_seconds)


def train(folder: Path, task: Any = None, settings: OptimizerConfig = SCHEDULE, **state_options: Any) -> Fit:
    return fit(
        network(), task or Regression(), settings, state(folder, **state_options), CPU, partial(tqdm, disable=True)
    )


def assert_same(one: Fit, other: Fit) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name]), name
    assert one.curve == other.curve


class Killed(Exception):
    """Stands for whatever ends a process in the middle of a step."""


def killed_at(step: int) -> Regression:
    def kill(at: int) -> None:
        if at == step:
            raise Killed

    return Regression(kill)


class Piece(Regression):
    """Some rows of each batch; its loss is their part of the batch's mean."""

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__()
        self.group = group

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = super().batch(step)
        return inputs[self.group.rank :: self.group.size], targets[self.group.rank :: self.group.size]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().loss(model, batch) * len(batch[0]) / 5


def test_a_batch_that_is_computed_in_pieces_gives_the_same_weights_but_for_rounding(tmp_path: Path) -> None:
    noted: list[float] = []
    quiet = partial(tqdm, disable=True)
    whole = train(tmp_path / "whole")
    pieces = [Piece(share) for share in micro_batches(SINGLE_PROCESS, batch_size=5, micro_batch=2)]
    assert len(pieces) == 3
    found = fit(
        network(), Regression(), SCHEDULE, state(tmp_path / "pieces"), CPU, quiet, pieces=pieces,
        did=lambda count, unit, seconds: noted.append(count),
    )  # fmt: skip
    for name, weight in whole.weights.items():
        torch.testing.assert_close(found.weights[name], weight, msg=name)
    assert [point["loss"] for point in found.curve] == pytest.approx([point["loss"] for point in whole.curve])
    assert noted == [5 * STEPS]


@pytest.mark.parametrize(
    ("ranks", "batch", "micro", "count"), [(1, 32, None, 1), (1, 32, 8, 4), (2, 32, 8, 2), (3, 7, 2, 2)]
)
def test_micro_batches_are_shares_of_more_ranks_and_no_larger_than_asked(
    ranks: int, batch: int, micro: int | None, count: int
) -> None:
    shares = [share for rank in range(ranks) for share in micro_batches(ProcessGroup(rank, ranks), batch, micro)]
    assert [(share.rank, share.size) for share in shares] == [(rank, ranks * count) for rank in range(ranks * count)]
    assert micro is None or max(len(range(batch)[share.rank :: share.size]) for share in shares) <= micro


def test_what_was_trained_is_noted_with_its_seconds(tmp_path: Path) -> None:
    noted: list[tuple[float, str, float | None]] = []

    def did(count: float, unit: str, seconds: float | None = None) -> None:
        noted.append((count, unit, seconds))

    fit(network(), Regression(), SCHEDULE, state(tmp_path), CPU, partial(tqdm, disable=True), did=did)
    ((count, unit, seconds),) = noted
    assert (count, unit) == (5 * STEPS, Regression.unit)
    assert seconds is not None and seconds > 0


# --- stopping and going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("step", [1, 3, 4, 5, 8, STEPS - 1])
def test_a_run_that_is_killed_goes_on_to_the_same_weights_and_curve(tmp_path: Path, step: int, precision: str) -> None:
    settings = schedule(precision=precision)
    whole = train(tmp_path / "whole", settings=settings)
    with pytest.raises(Killed):
        train(tmp_path / "killed", killed_at(step), settings)
    seen: list[int] = []
    resumed = train(tmp_path / "killed", Regression(seen.append), settings)
    assert_same(resumed, whole)
    assert seen == list(range(step, STEPS))


def test_a_run_may_be_killed_again_and_again(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    for step in (2, 2, 7, 9):
        with pytest.raises(Killed):
            train(tmp_path / "killed", killed_at(step))
    assert_same(train(tmp_path / "killed"), whole)


def test_a_run_that_is_killed_before_it_saved_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(tmp_path, killed_at(5), every_seconds=1000)
    seen: list[int] = []
    assert_same(train(tmp_path, Regression(seen.append)), train(tmp_path / "whole"))
    assert seen == list(range(STEPS))


def test_a_state_of_other_settings_is_not_used_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("selfloop"), "propagate", True)
    with pytest.raises(Killed):
        train(tmp_path, killed_at(5), fingerprint="other")
    with caplog.at_level(logging.WARNING):
        resumed = train(tmp_path)
    assert "is ignored: its config, data or code differ" in caplog.text
    assert_same(resumed, train(tmp_path / "whole"))


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.999])
def test_a_truncated_state_is_not_used_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, keep: float
) -> None:
    monkeypatch.setattr(logging.getLogger("selfloop"), "propagate", True)
    with pytest.raises(Killed):
        train(tmp_path, killed_at(5))
    path = state(tmp_path).path
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with caplog.at_level(logging.WARNING):
        resumed = train(tmp_path)
    assert "cannot be read" in caplog.text
    assert_same(resumed, train(tmp_path / "whole"))


def resave(path: Path, edit: Callable[[dict[str, Tensor], dict[str, str]], object]) -> None:
    """Write a state anew after a change of its tensors and metadata."""
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    edit(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def flip(path: Path, share: float) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    """Put a folder with a file in the file's place."""
    path.unlink()
    path.mkdir()
    (path / "inner").write_text("")


@pytest.mark.parametrize(
    "damage",
    [
        *(partial(flip, share=share) for share in (0.0, 0.001, 0.01, 0.5, 0.7, 0.9, 0.999)),
        partial(resave, edit=lambda tensors, metadata: tensors.update(other=tensors.pop("losses"))),
        partial(resave, edit=lambda tensors, metadata: tensors["losses"].fill_(math.nan)),
        partial(resave, edit=lambda tensors, metadata: tensors.pop("losses")),
        partial(resave, edit=lambda tensors, metadata: tensors.update(losses=tensors["losses"].float())),
        partial(resave, edit=lambda tensors, metadata: metadata.pop("fingerprint")),
        partial(resave, edit=lambda tensors, metadata: metadata.pop("checksum")),
        partial(resave, edit=lambda tensors, metadata: metadata.update(values="{}")),
        partial(resave, edit=lambda tensors, metadata: metadata.update(values=metadata["values"].replace("5", "4"))),
        replace_by_folder,
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
    ],
)
def test_a_damaged_state_is_not_used_and_that_is_said(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
) -> None:
    monkeypatch.setattr(logging.getLogger("selfloop"), "propagate", True)
    with pytest.raises(Killed):
        train(tmp_path, killed_at(5))
    damage(state(tmp_path).path)
    with caplog.at_level(logging.WARNING):
        resumed = train(tmp_path)
    assert f"{state(tmp_path).path} cannot be read (" in caplog.text and "starting from scratch" in caplog.text
    assert_same(resumed, train(tmp_path / "whole"))


def test_weights_that_the_last_step_made_infinite_are_an_error(tmp_path: Path) -> None:
    class Blind(Regression):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            return {"error": 0.0}

    def at_last(step: int) -> None:
        if step == STEPS - 1:
            monkey.setattr(Optimizer, "step", lambda optimizer, rate: optimizer.weights.master.fill_(math.inf))

    with (
        pytest.MonkeyPatch.context() as monkey,
        pytest.raises(UserError, match=f"is not finite after step {STEPS}; try"),
    ):
        train(tmp_path, Blind(at_last))


STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def signalled(at: int, number: int) -> Regression:
    """A training that gets a signal in the step `at`, three times as from a terminal, Snakemake and a script."""

    def send(step: int) -> None:
        for _ in range(3 if step == at else 0):
            os.kill(os.getpid(), number)

    return Regression(send)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_saves_the_state_and_ends_the_run(tmp_path: Path, number: int) -> None:
    message = f"stopped at step 7 of {STEPS}; the state is saved; run the same command to go on."
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=message):
        train(tmp_path, signalled(6, number), every_seconds=1000)
    assert signal.getsignal(number) is before
    seen: list[int] = []
    assert_same(train(tmp_path, Regression(seen.append)), train(tmp_path / "whole"))
    assert seen == list(range(7, STEPS))


def test_a_stop_signal_in_the_last_step_leaves_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, signalled(STEPS - 1, signal.SIGTERM))
    seen: list[int] = []
    assert_same(train(tmp_path, Regression(seen.append)), train(tmp_path / "whole"))
    assert seen == []


def test_the_first_step_which_may_take_minutes_to_compile_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"^stopped; run the same command to go on\.$"):
        train(tmp_path, signalled(0, signal.SIGINT), every_seconds=1000)
    assert not state(tmp_path).path.exists()
    with pytest.raises(Killed):
        train(tmp_path, killed_at(5))
    with pytest.raises(Stopped):
        train(tmp_path, signalled(5, signal.SIGINT))
    assert_same(train(tmp_path), train(tmp_path / "whole"))


@pytest.mark.parametrize("evaluation", [1, 2, 3])
def test_an_evaluation_is_not_waited_for_and_comes_first_in_the_next_run(tmp_path: Path, evaluation: int) -> None:
    class Evaluated(Regression):
        stops = True

        def evaluate(self, model: nn.Module) -> dict[str, float]:
            self.evaluated.append(1)
            if self.stops and len(self.evaluated) == evaluation:
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("it went on")
            return super().evaluate(model)

    step = evaluation * STEPS // SCHEDULE.evaluations
    with pytest.raises(Stopped, match=f"stopped at step {step} of {STEPS}; the state is saved"):
        train(tmp_path, Evaluated(), every_seconds=1000)
    rest = Evaluated()
    rest.stops = False
    assert_same(train(tmp_path, rest), train(tmp_path / "whole"))
    assert len(rest.evaluated) == SCHEDULE.evaluations - evaluation + 1


def test_a_stop_signal_during_a_save_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = saved_state.save_file

    def slow(*arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        real(*arguments, **options)

    monkeypatch.setattr(saved_state, "save_file", slow)
    with pytest.raises(Stopped, match=f"stopped at step 2 of {STEPS}"):  # the save after step 1 is not disturbed
        train(tmp_path)
    monkeypatch.undo()
    assert_same(train(tmp_path), train(tmp_path / "whole"))


# --- the saved state -----------------------------------------------------------------------------------------------


def test_a_saved_state_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = state(tmp_path)
    assert saved.load() is None
    tensors = {"a": torch.randn(3, 4), "count": torch.tensor(2.0, dtype=torch.float64)}
    saved.save(tensors, 3, [{"loss": 0.1 + 0.2}])
    loaded = state(tmp_path).load()
    assert loaded is not None
    assert (loaded.step, loaded.curve) == (3, [{"loss": 0.1 + 0.2}])
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())
    assert [path.name for path in saved.folder.iterdir()] == ["state.safetensors"]


def test_a_state_outlives_its_training_and_what_lies_beside_it_does_not(tmp_path: Path) -> None:
    """Until Snakemake has recorded the outputs, a kill has the training done again."""
    saved = state(tmp_path)
    saved.remove_scratch()  # of a training that was too short to save anything or write there
    for saves in (False, True):
        (saved.folder / "tokens").mkdir(parents=True)
        (saved.folder / "tokens/tokens.uint16").write_bytes(bytes(10))
        (saved.folder / "images-0.uint8").write_bytes(bytes(10))
        if saves:
            saved.save({}, 3, [])
        saved.remove_scratch()
        left = saved.folder.iterdir() if saved.folder.exists() else None
        assert left is None if not saves else [path.name for path in left or ()] == ["state.safetensors"]
    loaded = saved.load()
    assert loaded is not None and loaded.step == 3


def test_a_state_that_takes_long_to_save_is_due_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("selfloop.training.resume.time.monotonic", lambda: now[0])
    monkeypatch.setattr("selfloop.training.saved_state.save_file", slow_save := _SlowSave(now, seconds=3.0))
    saved = state(tmp_path, every_seconds=60.0)
    now[0] = 60.0
    assert saved.is_due()
    saved.save({}, 0, [])
    assert slow_save.calls == 1
    now[0] = 63.0 + 149.0  # saving is at most 2 % of the time: 3 s of 150 s
    assert not saved.is_due()
    now[0] = 63.0 + 151.0
    assert saved.is_due()


class _SlowSave:
    """Stands for a slow disk."""

    def __init__(self, now: list[float], seconds: float) -> None:
        self.now, self.seconds, self.calls = now, seconds, 0

    def __call__(self, tensors: object, path: Path, metadata: object) -> None:
        self.calls += 1
        self.now[0] += self.seconds
        Path(path).touch()


def test_a_state_is_due_so_many_seconds_after_the_last_one(tmp_path: Path) -> None:
    assert state(tmp_path, every_seconds=0.0).is_due()
    assert not state(tmp_path, every_seconds=1000.0).is_due()


# --- losses that are no numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, value: float) -> None:
    with pytest.raises(UserError, match=r"the training loss became (nan|inf) before step 4; try a lower learning_rate"):
        train(tmp_path, Regression(scale=value))


def test_a_measurement_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    """The last step's gradient can spoil the weights after all losses were fine."""

    class Spoilt(Regression):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            loss = super().loss(model, batch)
            loss.register_hook(lambda gradient: gradient * math.nan)
            return loss

        steps = 1

        def evaluate(self, model: nn.Module) -> dict[str, float]:
            with torch.inference_mode():
                return {"error": super().loss(model, self.batch(1000)).item()}

    with pytest.raises(UserError, match=r"error became nan before step 1; try a lower learning_rate"):
        train(tmp_path, Spoilt())


# --- the learning curve --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluations", "steps"), [(1, [12]), (3, [4, 8, 12]), (5, [3, 5, 8, 10, 12]), (50, list(range(1, 13)))]
)
def test_the_curves_points_are_even_and_the_last_is_at_the_end(
    tmp_path: Path, evaluations: int, steps: list[int]
) -> None:
    curve = train(tmp_path, settings=schedule(evaluations=evaluations)).curve
    assert [point["step"] for point in curve] == steps
    assert [point["epoch"] for point in curve] == [step / 6 for step in steps]


class Watched(Regression):
    """A task with given losses on the test and the validation split."""

    def __init__(self, test: list[float], validation: list[float]) -> None:
        super().__init__()
        self.points = list(zip(test, validation, strict=True))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        test, validation = self.points.pop(0)
        return {"error": test, "validation_error": validation}


def test_a_plateau_watches_the_validation_split_and_never_the_test_split(tmp_path: Path) -> None:
    settings = schedule(schedule="plateau", warmup_steps=0, patience=0, decay=0.5, evaluations=3)
    falling, flat = [3.0, 2.0, 1.0], [3.0, 3.0, 3.0]
    found = {
        name: train(tmp_path / name, Watched(*losses), settings).weights
        for name, losses in {"a": (falling, falling), "b": (flat, falling), "c": (falling, flat)}.items()
    }
    assert all(torch.equal(found["a"][name], found["b"][name]) for name in found["a"])
    assert not all(torch.equal(found["a"][name], found["c"][name]) for name in found["a"])


def test_a_points_loss_is_the_mean_since_the_point_before(tmp_path: Path) -> None:
    coarse = train(tmp_path / "coarse", settings=schedule(evaluations=3)).curve
    fine = train(tmp_path / "fine", settings=schedule(evaluations=STEPS)).curve
    losses = [point["loss"] for point in fine]
    assert [point["loss"] for point in coarse] == pytest.approx([sum(losses[i : i + 4]) / 4 for i in (0, 4, 8)])
    assert [point["error"] for point in coarse] == [point["error"] for point in fine][3::4]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    class OneBatch(Regression):
        steps = 60

        def batch(self, step: int) -> tuple[Tensor, Tensor]:
            return super().batch(0)

    curve = train(tmp_path, OneBatch(), every_seconds=1000).curve
    assert curve[-1]["loss"] < 0.3 * curve[0]["loss"]


# --- buffers -------------------------------------------------------------------------------------------------------


def test_batch_norms_statistics_survive_a_kill_and_come_with_the_weights(tmp_path: Path) -> None:
    def run(folder: Path, task: Any) -> Fit:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))
        return fit(model, task, SCHEDULE, state(folder), CPU, partial(tqdm, disable=True))

    whole = run(tmp_path / "whole", Regression())
    assert whole.weights["1.running_mean"].any()
    assert whole.weights["1.num_batches_tracked"] == STEPS  # measuring does not count: it is in the evaluation mode
    with pytest.raises(Killed):
        run(tmp_path / "killed", killed_at(7))
    assert_same(run(tmp_path / "killed", Regression()), whole)


class Meeting:
    """Where the threads that stand for a group's processes add up."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.brought: list[Tensor] = [torch.empty(0)] * size

    def add(self, rank: int, tensor: Tensor) -> None:
        self.brought[rank] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(torch.stack(self.brought).sum(dim=0))
        self.barrier.wait()


@dataclass(frozen=True)
class Member(ProcessGroup):
    """A thread that stands for one of a group's processes."""

    meeting: Meeting = field(default_factory=lambda: Meeting(2))

    def all_reduce(self, tensor: Tensor) -> None:
        self.meeting.add(self.rank, tensor)


def test_batch_norms_statistics_are_those_of_all_processes_and_survive_a_kill(tmp_path: Path) -> None:
    """Each process sees its own share of every batch, and only one of them saves. Here they are threads."""

    class Share(Regression):
        def __init__(self, member: Member, killed_at: int | None) -> None:
            super().__init__()
            self.member, self.killed_at = member, killed_at

        def batch(self, step: int) -> tuple[Tensor, Tensor]:
            if step == self.killed_at:
                raise Killed
            inputs, targets = super().batch(step)
            return inputs[self.member.rank :: 2], targets[self.member.rank :: 2]

    def run(folder: Path, killed_at: int | None = None) -> list[Fit]:
        meeting = Meeting(2)
        members = [Member(rank, 2, meeting) for rank in range(2)]
        models = []
        for _ in members:
            torch.manual_seed(0)
            models.append(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4)))

        def one(member: Member) -> Fit:
            task = Share(member, killed_at)
            hidden = partial(tqdm, disable=True)
            return fit(models[member.rank], task, SCHEDULE, state(folder), CPU, hidden, member)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, members))

    whole = run(tmp_path / "whole")
    assert_same(*whole)
    with pytest.raises(Killed):
        run(tmp_path / "killed", killed_at=7)
    for one, other in zip(run(tmp_path / "killed"), whole, strict=True):
        assert_same(one, other)


# --- the optimizer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_the_optimizer_is_torchs_adamw_with_decay_on_matrices_and_clipping(clip: float) -> None:
    settings = schedule(clip=clip, weight_decay=0.3)
    ours, theirs = network(), network()
    weights = FlatWeights(ours, torch.float32)
    optimizer = Optimizer(weights, settings)
    matrices = [parameter for parameter in theirs.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in theirs.parameters() if parameter.dim() < 2]
    assert (len(matrices), len(others)) == (2, 4)
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}],
        betas=(settings.beta1, settings.beta2),
    )
    task = Regression()
    for step in range(20):
        rate = settings.learning_rate_at(step, 20)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.zero_grad()
        task.loss(theirs, task.batch(step)).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        reference.step()
        weights.backward(task.loss(ours, task.batch(step)))
        optimizer.step(rate)
        for (name, mine), (_, expected) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6, msg=f"{name} at step {step}")


def test_gradients_are_those_of_the_last_loss_unless_they_are_added() -> None:
    model = network()
    weights = FlatWeights(model, torch.float32)
    task = Regression()
    each = []
    for step in (0, 1):
        weights.backward(task.loss(model, task.batch(step)))
        each.append(weights.gradient.clone())
    assert not torch.equal(*each)
    weights.backward(task.loss(model, task.batch(0)))
    weights.backward(task.loss(model, task.batch(1)), add=True)
    torch.testing.assert_close(weights.gradient, each[0] + each[1])


def test_a_parameter_that_the_loss_does_not_depend_on_has_no_gradient() -> None:
    model = network()
    weights = FlatWeights(model, torch.float32)
    weights.gradient.fill_(7.0)
    weights.backward(model[0].weight.sum())
    assert weights.gradient.unique().tolist() == [0.0, 1.0]


def test_the_models_parameters_are_views_of_one_flat_tensor_with_matrices_first() -> None:
    model = network()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    weights = FlatWeights(model, torch.float32)
    assert weights.matrices == 6 * 8 + 8 * 4
    assert all(torch.equal(weights.by_name()[name], weight) for name, weight in before.items())
    weights.master.zero_()
    assert all(not parameter.any() for parameter in model.parameters())


def test_tied_weights_are_one_tensor() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    weights = FlatWeights(model, torch.float32)
    assert weights.master.numel() == 16
    weights.master.fill_(2.0)
    assert model[2].weight is model[0].weight
    assert bool((model[2].weight == 2.0).all())


def test_master_weights_stay_float32_under_bfloat16() -> None:
    """A change smaller than bfloat16 can hold adds up in the master weights."""
    model = network()
    weights = FlatWeights(model, torch.bfloat16)
    optimizer = Optimizer(weights, schedule(weight_decay=0.0))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    begin = weights.master.clone()
    task = Regression()
    for step in range(10):
        weights.backward(task.loss(model, task.batch(step)))
        optimizer.step(1e-6)
    moved = (weights.master - begin).abs()
    assert weights.master.dtype == optimizer.first_moment.dtype == optimizer.second_moment.dtype == torch.float32
    assert 0 < moved.max() < 2e-5
    assert torch.equal(weights.compute, weights.master.to(torch.bfloat16))
    assert {weight.dtype for weight in weights.by_name().values()} == {torch.float32}


def test_the_result_is_the_float32_master_weights(tmp_path: Path) -> None:
    result = train(tmp_path, settings=schedule(precision="bfloat16"))
    assert {weight.dtype for weight in result.weights.values()} == {torch.float32}
    assert any(not torch.equal(weight, weight.to(torch.bfloat16).float()) for weight in result.weights.values())
