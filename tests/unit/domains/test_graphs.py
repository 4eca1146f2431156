"""CUDA graphs of training steps, seen without a GPU: what stands in for one computes again on the same tensors."""

import gc
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from tqdm import tqdm

from selfloop.config.training_length import TrainingLength
from selfloop.domains.image import config as image
from selfloop.domains.image.model.network import Shape
from selfloop.domains.image.model.network import build as build_autoencoder
from selfloop.domains.image.steps.train import ImageTask
from selfloop.domains.molecule import config as molecule
from selfloop.domains.molecule.data import graph
from selfloop.domains.molecule.model.network import build as build_molecule
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.steps.train import ConformationTask
from selfloop.domains.text.config import Model
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.model import loss as language_loss
from selfloop.domains.text.model.batches import DocumentTask, LanguageTask, Order, PackedTask
from selfloop.domains.text.model.network import build as build_transformer
from selfloop.operations.gpu.check import chains
from selfloop.training import graphs, loop
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.graphs import Capture
from selfloop.training.loop import Fit, Task, fit, micro_batches
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.resume import ResumeCheckpoint

CPU = torch.device("cpu")
CONTEXT = 48
SCHEDULE = OptimizerConfig(0.01, 0.1, 0.9, 0.95, 1.0, 2, "float32")
Made = tuple[nn.Module, list[Task[Any]]]


class Again:
    """Stands in for what records CUDA graphs; the first run warms up, and its results are not wanted."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], object]:
        self.recorded += 1
        work()
        return work


def documents() -> TokenStore:
    generator = np.random.default_rng(0)
    rows = [np.concatenate([[0], generator.integers(1, 60, length), [0]]) for length in generator.integers(1, 46, 30)]
    return TokenStore(np.concatenate(rows).astype("<u2"), np.cumsum([0, *map(len, rows)]))


def language(architecture: Any, packed: bool = False, weighted: bool = False, micro: int | None = None) -> Made:
    model = Model(architecture=architecture, hidden_size=8, layers=2, heads=2, context=CONTEXT, vocabulary=300)
    store, order = documents(), Order(TrainingLength(epochs=2.0), 4, 0)
    weights = np.linspace(0.5, 2.0, len(store)) if weighted else None
    task: LanguageTask = DocumentTask(store, store, order, CPU, weights)
    if packed:
        task = PackedTask(store, store, order, CONTEXT, CPU, weights)
    return build_transformer(model, 0), [task.share(share) for share in micro_batches(SINGLE_PROCESS, 4, micro)]


def images(weighted: bool = False, group: ProcessGroup = SINGLE_PROCESS) -> Made:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 1, 8, 8), dtype=np.uint8)
    weights = np.linspace(0.5, 2.0, len(pixels)) if weighted else None
    training = image.Training(epochs=3.0, batch_size=4)
    task = ImageTask(pixels, pixels, training, 4, "a", CPU, group, weights=weights)
    return build_autoencoder(Shape(8, "gray", (4, 4), 4), 0), [task]


def molecules(group: ProcessGroup = SINGLE_PROCESS) -> Made:
    """Chains of carbon atoms, padded as on a GPU."""
    data = chains(9, 5)
    model = molecule.Model(hidden_size=8, global_layers=1, local_layers=1)
    task = ConformationTask(data, data, sigmas(model), 8, 4, 0, CPU, group=group)
    return build_molecule(model, 0), [task]


KINDS: dict[str, Callable[[], Made]] = {
    "gpt2": partial(language, "gpt2"),
    "llama": partial(language, "llama"),
    "weighted": partial(language, "gpt2", weighted=True),
    "packed": partial(language, "gpt2", packed=True),
    "packed and weighted": partial(language, "llama", packed=True, weighted=True),
    "in pieces": partial(language, "gpt2", micro=2),
    "images": images,
    "weighted images": partial(images, weighted=True),
    "molecules": molecules,
}


def train(folder: Path, made: Made) -> Fit:
    model, pieces = made
    resume = ResumeCheckpoint(folder, "mine", 1e9)
    return fit(model, pieces[0], SCHEDULE, resume, CPU, partial(tqdm, disable=True), pieces=pieces)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_loss, "ignores_padding", lambda device: True)
    monkeypatch.setattr(language_loss, "LENGTHS", {False: 16})
    monkeypatch.setattr(graph, "has_few_shapes", lambda device: True)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Again:
    """In place of CUDA graphs, within the test."""
    stand_in = Again()
    monkeypatch.setattr(loop, "recorder", lambda device: stand_in)
    return stand_in


def keys(made: Made) -> set[Hashable]:
    """Of all steps of a training; the first piece writes the gradient, the others add to it."""
    model, pieces = made
    steps = range(pieces[0].steps)
    return {(piece.graph_key(model, piece.batch(step)), piece is not pieces[0]) for piece in pieces for step in steps}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_by_graphs_has_the_weights_and_curve_of_one_without_to_the_bit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "eager", KINDS[kind]())
    stand_in = Again()
    monkeypatch.setattr(loop, "recorder", lambda device: stand_in)
    found = train(tmp_path / "graphs", KINDS[kind]())
    assert found.curve == expected.curve
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
    assert 0 < stand_in.recorded == len(keys(KINDS[kind]())) < KINDS[kind]()[1][0].steps


def test_shapes_beyond_the_most_graphs_are_computed_without_one(
    again: Again, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "all", language("gpt2"))
    assert again.recorded > 2
    monkeypatch.setattr(graphs, "MOST", 2)
    again.recorded = 0
    found = train(tmp_path / "two", language("gpt2"))
    assert again.recorded == 2
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)


def test_a_task_whose_steps_differ_in_more_than_shapes_is_trained_without_graphs(again: Again, tmp_path: Path) -> None:
    model, (task,) = images()
    task.graph_key = lambda model, batch: None  # type: ignore[method-assign]
    train(tmp_path, (model, [task]))
    assert again.recorded == 0


def test_images_of_several_ranks_are_such_a_task() -> None:
    """BatchNorm sums over them in the middle of the model."""
    model, (task,) = images(group=ProcessGroup(1, 2))
    assert task.graph_key(model, task.batch(0)) is None


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert graphs.recorder(CPU) is None


@pytest.mark.parametrize("weighted", [False, True])
def test_padding_to_a_common_length_changes_the_loss_by_rounding_alone(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (padded,) = language("llama", weighted=weighted)
    monkeypatch.setattr(language_loss, "LENGTHS", {False: 1})
    _, (task,) = language("llama", weighted=weighted)
    lengths = set()
    for step in range(task.steps):
        own = task.batch(step)
        with monkeypatch.context() as patched:
            patched.setattr(language_loss, "LENGTHS", {False: 16})
            longer = padded.batch(step)
        lengths.add(longer.inputs.shape[1])
        width = own.inputs.shape[1]
        assert torch.equal(longer.inputs[:, :width], own.inputs)
        assert longer.inputs.shape == longer.targets.shape
        assert padded.size(longer) == task.size(own)
        losses = [one.loss(model, batch) for one, batch in ((padded, longer), (task, own))]
        parameters = list(model.parameters())
        found, expected = (torch.autograd.grad(loss, parameters) for loss in losses)
        torch.testing.assert_close(losses[0], losses[1])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    longest = int(documents().lengths.max()) - 1
    assert longest % 16 and lengths == {16, 32, longest}


class Broken(Exception):
    """Raised while something is captured."""


class Graph:
    """Stands in for a CUDA graph."""

    def __init__(self, did: list[str]) -> None:
        self.did = did

    def capture_begin(self, *_: object) -> None:
        self.did.append("begin")

    def capture_end(self) -> None:
        self.did.append("end")
        if "broken" in self.did:
            raise RuntimeError("the capture is not valid")

    def replay(self) -> None:
        self.did.append("replay")


class Stream:
    """Stands in for a stream."""

    def wait_stream(self, other: object) -> None: ...

    def synchronize(self) -> None: ...


class Pool:
    """Stands in for a pool of memory."""

    id = (0, 1)


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What CUDA was asked to do; it is replaced by what notes that."""
    done: list[str] = []
    replaced: dict[str, Callable[..., object]] = {
        "Stream": lambda device: Stream(), "current_stream": Stream, "MemPool": Pool, "empty_cache": lambda: None,
        "CUDAGraph": lambda: Graph(done), "stream": lambda stream: nullcontext(),
        "use_mem_pool": lambda pool: nullcontext(),
    }  # fmt: skip
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return done


def test_work_is_done_once_before_it_is_captured(did: list[str]) -> None:
    replay = Capture(torch.device("cuda"))(lambda: did.append("work"))
    assert did == ["work", "begin", "work", "end"]
    assert gc.isenabled()
    replay()
    assert did[-1] == "replay"


def test_an_error_ends_a_capture_and_is_the_one_that_is_raised(did: list[str]) -> None:
    def work() -> None:
        did.append("work")
        if "begin" in did:
            did.append("broken")
            raise Broken

    with pytest.raises(Broken):
        Capture(torch.device("cuda"))(work)
    assert did == ["work", "begin", "work", "broken", "end"]


def test_a_loss_in_the_making_is_not_held_by_its_graph() -> None:
    """Nor are the gradients' intermediate tensors, whose memory the next graph takes."""
    model, (task,) = images()
    held: list[Tensor] = []

    def loss(batch: Any) -> Tensor:
        found: Tensor = task.loss(model, batch)
        held.append(found)
        return found

    weights = loop.FlatWeights(model, torch.float32)
    result = graphs.Graphs(weights, [], Again()).backward(0, loss, task.batch(0), add=False)
    assert result.grad_fn is None
    assert result.item() == held[-1].item()
