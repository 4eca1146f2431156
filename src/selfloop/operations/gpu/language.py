"""Trainings and samplings of the paper's language models on made-up stories, for `selfloop check-gpu`."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from selfloop.config.training_length import TrainingLength
from selfloop.domains.text.config import Model, Sampling
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.model.batches import DocumentTask, Order
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import build
from selfloop.domains.text.sampling import lanes, sampler, torch_engine, vllm_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.processes.stopping import held_back
from selfloop.training.devices import compile_deterministically
from selfloop.training.loop import fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.resume import ResumeCheckpoint

BATCH = 32  # documents, as the paper's
OPTIMIZER = OptimizerConfig(1e-3, 0.1, 0.9, 0.95, 1.0, 1, "auto")
SMALL = Model(
    architecture="llama",
    hidden_size=256,
    layers=8,
    heads=8,
    intermediate_size=1024,
    context=2048,
    vocabulary=8000,
    initializer_range=0.02,
)
PAPER = {
    "GPT-2 9M": SMALL.changed(architecture="gpt2", heads=16),
    "Llama 12M": SMALL,
    "Llama 126M": SMALL.changed(heads=12, hidden_size=768, layers=12, intermediate_size=3072),
}
TINY = {
    name: model.changed(hidden_size=4 * model.heads, layers=2, intermediate_size=32, context=64, vocabulary=300)
    for name, model in PAPER.items()
}


@dataclass
class Steps:
    """Stands for a progress bar: when steps ended, and what happens at one of them.

    A host is many steps ahead of a GPU: in the middle and at the end, it waits for it.
    """

    at: int = -1
    then: Callable[[], object] = lambda: None
    ended: list[float] = field(default_factory=list)
    total: int = 0

    def __call__(self, *, total: int = 0, **_: object) -> "Steps":
        """The bar of a loop."""
        self.total = total
        return self

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is shown."""

    def set_postfix_str(self, *_: object, **__: object) -> None:
        """Nothing is shown."""

    def update(self, count: int = 1) -> None:
        """A step has ended."""
        if torch.cuda.is_available() and len(self.ended) + 1 in (self.total // 2, self.total):
            torch.cuda.synchronize()
        self.ended.append(time.perf_counter())
        if len(self.ended) == self.at:
            self.then()


def stories(model: Model, count: int) -> TokenStore:
    """Documents as long as TinyStories' (log-normal, 212 tokens on average), as far as the context allows."""
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.normal(5.287, 0.3485, count)).astype(int).clip(8, model.context - 2)
    ends = np.array([END_OF_TEXT_ID])
    rows = [np.concatenate([ends, generator.integers(1, model.vocabulary, n), ends]).astype("<u2") for n in lengths]
    return TokenStore(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


def task_of(model: Model, steps: int, device: torch.device, batch: int = BATCH, epochs: int = 1) -> DocumentTask:
    """Training data for a number of steps; in `epochs` of at most 50 steps, batches are as long in all of them."""
    store = stories(model, batch * steps // epochs)
    test = TokenStore(store.tokens, store.bounds[: batch + 1])
    return DocumentTask(store, test, Order(TrainingLength(epochs=float(epochs)), batch, 0), device)


def trained(
    model: Model, task: DocumentTask, device: torch.device, folder: Path, compiled: bool, bar: Steps | None = None
) -> str:
    """The checksum of the weights of a training, which resumes from the checkpoint in `folder` if there is one.

    Raises:
        Stopped: the process was told to stop meanwhile.
    """
    network = build(model, 0)
    if compiled:
        compile_deterministically(device)
        network.compile_hidden()
    state = ResumeCheckpoint(folder, "check-gpu", 1e9)
    with held_back():
        return checksum(fit(network, task, OPTIMIZER, state, device, bar or Steps()).weights)


def checksum(weights: Mapping[str, Tensor]) -> str:
    """Of a model's weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(weights[name].numpy().tobytes())
    return total.hexdigest()[:12]


def milliseconds(bar: Steps) -> tuple[float, float]:
    """The mean time of the later half of the steps, and the longest of all that the host spent on one."""
    half = max(1, len(bar.ended) // 2)
    mean = (bar.ended[-1] - bar.ended[half - 1]) / (len(bar.ended) - half)
    return 1e3 * mean, 1e3 * float(np.diff(bar.ended).max())


class _TimeUp(Exception):
    """The sampling has been measured for long enough."""


def tokens_per_second(
    model: Model, documents: int, length: int, engine: Literal["torch", "vllm"], seconds: float, part: int = 0
) -> float:
    """How fast an engine samples documents of an untrained model, which end at the maximum length, from a checkpoint.

    Args:
        model: its sizes.
        documents, length: how many, and their tokens.
        part: documents of the part that these are the first of, whose slices are larger than those of a small one.
        engine: "torch" or "vllm".
        seconds: after which the sampling ends, finished or not; vLLM always finishes.
    """
    sampled, began = 0, 0.0

    def count(tokens: int) -> None:
        nonlocal sampled, began
        began = began or time.perf_counter()
        sampled += tokens
        if engine == "torch" and time.perf_counter() - began > seconds:
            raise _TimeUp

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer: Tokenizer = train_tokenizer(["a b c"], model.vocabulary)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "checkpoint").mkdir()
        network = build(model, 0)
        weights = {key: weight.detach() for key, weight in network.named_parameters()}
        save_checkpoint(network, weights, folder / "tokenizer.json", folder / "checkpoint")
        prompts = np.full((documents, 1), END_OF_TEXT_ID, dtype=np.int64)
        sampling = Sampling(max_length=length, engine=engine)
        request = Request(
            folder / "checkpoint", prompts, sampling, "check-gpu", gpus=1, threads=4, on_tokens=count, part_rows=part
        )
        with suppress(_TimeUp):
            list((torch_engine if engine == "torch" else vllm_engine).sample(request))
    return sampled / max(time.perf_counter() - began, 1e-9)


def samples(models: Mapping[str, Model], device: torch.device, tiny: bool) -> Iterator[tuple[str, int, int]]:
    """How many documents of untrained models are the same, of how many: sampled twice in lanes, and in cohorts.

    Cohorts sum in another order than lanes: few documents differ.
    """
    count, length = (8, 16) if tiny else (512, 128)
    sampling, prompts = Sampling(max_length=length), torch.full((count, 1), END_OF_TEXT_ID, device=device)
    for name, model in list(models.items())[:2]:
        network = build(model, 0).to(device)
        one, again, cohorts = (
            way(network, prompts, sampling, "check-gpu") for way in (lanes.sample, lanes.sample, sampler.sample)
        )
        for title, other in (("twice", again), ("in cohorts", cohorts)):
            yield f"{name}, {title}", sum(map(np.array_equal, one, other)), count
