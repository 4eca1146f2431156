"""Which documents a training step sees."""

import numpy as np
import pytest
import torch

from selfloop.domains.text import train
from selfloop.domains.text.loss import IGNORED, cross_entropy
from selfloop.domains.text.model import build
from selfloop.domains.text.tokens import TokenStore
from selfloop.domains.text.train import DocumentTask

CPU = torch.device("cpu")
DOCUMENTS = 103


@pytest.fixture(scope="module")
def store() -> TokenStore:
    """Documents whose second token is their number."""
    generator = np.random.default_rng(0)
    documents = [
        [0, 1 + row, *generator.integers(1, 50, size=generator.integers(0, 25)), 0] for row in range(DOCUMENTS)
    ]
    bounds = np.cumsum([0, *map(len, documents)])
    return TokenStore(np.concatenate(documents).astype("<u2"), bounds)


def task(store: TokenStore, epochs: float = 2, batch_size: int = 8, seed: int = 1) -> DocumentTask:
    return DocumentTask(store, store, epochs, batch_size, seed, CPU)


def numbers(task: DocumentTask, steps: range) -> list[int]:
    """The documents of some steps, by number."""
    return [number - 1 for step in steps for number in task.batch(step)[1][:, 0].tolist()]


def test_every_epoch_sees_every_document_once(store: TokenStore) -> None:
    one = task(store)
    assert (one.steps_per_epoch, one.steps) == (13, 26)
    for epoch in (range(13), range(13, 26)):
        assert sorted(numbers(one, epoch)) == list(range(DOCUMENTS))
    assert numbers(one, range(13)) != numbers(one, range(13, 26))


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 7), (1, 13), (1.1, 15), (3, 39)])
def test_epochs_may_be_fractions(store: TokenStore, epochs: float, steps: int) -> None:
    assert task(store, epochs=epochs).steps == steps


def test_a_batch_is_a_function_of_its_step_and_the_seed(store: TokenStore) -> None:
    forwards, backwards, other = task(store), task(store), task(store, seed=2)
    expected = [forwards.batch(step) for step in range(26)]
    for step in reversed(range(26)):
        assert all(torch.equal(a, b) for a, b in zip(backwards.batch(step), expected[step], strict=True))
    assert numbers(other, range(13)) != numbers(forwards, range(13))


def test_documents_of_a_batch_are_of_similar_length(store: TokenStore) -> None:
    one = task(store)
    padding = sum(int((one.batch(step)[1] == IGNORED).sum()) for step in range(13))
    assert padding < 0.1 * (store.bounds[-1] - DOCUMENTS)


def test_only_so_many_batches_are_sorted_together(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "BATCHES_SORTED_TOGETHER", 2)
    assert sorted(numbers(task(store), range(13))) == list(range(DOCUMENTS))


def test_all_tokens_of_an_epoch_count_alike(store: TokenStore) -> None:
    """The mean loss over an epoch's steps is the cross-entropy of the training set, whatever the batches' lengths."""
    sizes = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "context": 32, "vocabulary": 128}
    model = build({"architecture": "gpt2", "initializer_range": 0.2, **sizes}, 0)
    one = task(store)
    with torch.inference_mode():
        mean = sum(one.loss(model, one.batch(step)).item() for step in range(13)) / 13
    assert mean == pytest.approx(cross_entropy(model, store, CPU), rel=1e-5)


def test_the_size_of_a_batch_is_the_tokens_it_predicts(store: TokenStore) -> None:
    one = task(store)
    assert sum(one.size(one.batch(step)) for step in range(13)) == store.bounds[-1] - DOCUMENTS
