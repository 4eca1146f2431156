"""Which documents a training step sees."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selfloop.config.training_length import TrainingLength
from selfloop.domains.text.config import Model
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import Marks
from selfloop.domains.text.model import batches, loss, network
from selfloop.domains.text.model.batches import DocumentTask, Order, PackedTask
from selfloop.domains.text.model.loss import IGNORED, cross_entropy
from selfloop.domains.text.model.network import build
from selfloop.operations.gpu.launches import Launches, of_training_step
from selfloop.training.distributed import ProcessGroup

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
    return DocumentTask(store, store, Order(TrainingLength(epochs=epochs), batch_size, seed), CPU)


def numbers(task: DocumentTask, steps: range) -> list[int]:
    """The documents of some steps, by number."""
    return [number - 1 for step in steps for number in task.batch(step)[1][:, 0].tolist()]


def test_every_epoch_sees_every_document_once(store: TokenStore) -> None:
    one = task(store)
    assert (one.steps_per_epoch, one.steps) == (13, 26)
    for epoch in (range(13), range(13, 26)):
        assert sorted(numbers(one, epoch)) == list(range(DOCUMENTS))
    assert numbers(one, range(13)) != numbers(one, range(13, 26))


def test_steps_go_round_the_training_set_as_epochs_do(store: TokenStore) -> None:
    three = task(store, epochs=3)
    steps = DocumentTask(store, store, Order(TrainingLength(steps=35), 8, 1), CPU)
    assert steps.steps == 35
    for step in range(35):
        assert all(torch.equal(*both) for both in zip(steps.batch(step)[:2], three.batch(step)[:2], strict=True))


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 7), (1, 13), (1.1, 15), (3, 39)])
def test_epochs_may_be_fractions(store: TokenStore, epochs: float, steps: int) -> None:
    assert task(store, epochs=epochs).steps == steps


def test_a_batch_is_a_function_of_its_step_and_the_seed(store: TokenStore) -> None:
    forwards, backwards, other = task(store), task(store), task(store, seed=2)
    expected = [forwards.batch(step) for step in range(26)]
    for step in reversed(range(26)):
        assert all(torch.equal(a, b) for a, b in zip(backwards.batch(step)[:2], expected[step][:2], strict=True))
    assert numbers(other, range(13)) != numbers(forwards, range(13))


def test_documents_of_a_batch_are_of_similar_length(store: TokenStore) -> None:
    one = task(store)
    padding = sum(int((one.batch(step)[1] == IGNORED).sum()) for step in range(13))
    assert padding < 0.1 * (store.bounds[-1] - DOCUMENTS)


def test_only_so_many_batches_are_sorted_together(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCHES_SORTED_TOGETHER", 2)
    assert sorted(numbers(task(store), range(13))) == list(range(DOCUMENTS))


def test_all_tokens_of_an_epoch_count_alike(store: TokenStore) -> None:
    """The mean loss over an epoch's steps is the cross-entropy of the training set, whatever the batches' lengths."""
    sizes = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "context": 32, "vocabulary": 300}
    model = build(Model(architecture="gpt2", initializer_range=0.2, **sizes), 0)
    one = task(store)
    with torch.inference_mode():
        mean = sum(one.loss(model, one.batch(step)).item() for step in range(13)) / 13
    assert mean == pytest.approx(cross_entropy(model, store, CPU), rel=1e-5)


def test_the_size_of_a_batch_is_the_tokens_it_predicts(store: TokenStore) -> None:
    one = task(store)
    assert sum(one.size(one.batch(step)) for step in range(13)) == store.bounds[-1] - DOCUMENTS


# --- shares of a batch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_the_processes_make_up_the_batch_and_its_loss(store: TokenStore, size: int) -> None:
    """Also where a batch has fewer documents than there are processes: the last one has 103 - 17 * 6 = 1."""
    sizes = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "context": 32, "vocabulary": 300}
    model = build(Model(architecture="llama", initializer_range=0.2, **sizes), 0)
    alone = DocumentTask(store, store, Order(TrainingLength(epochs=1), 6, 1), CPU)
    shared = [
        DocumentTask(store, store, Order(TrainingLength(epochs=1), 6, 1, ProcessGroup(rank, size)), CPU)
        for rank in range(size)
    ]
    assert alone.steps == 18
    with torch.inference_mode():
        for step in range(alone.steps):
            shares = [one.batch(step) for one in shared]
            assert sum(one.size(share) for one, share in zip(shared, shares, strict=True)) == alone.size(
                alone.batch(step)
            )
            total = sum(one.loss(model, share).item() for one, share in zip(shared, shares, strict=True))
            assert total == pytest.approx(alone.loss(model, alone.batch(step)).item(), rel=1e-5)


# --- packed rows ---------------------------------------------------------------------------------------------------


def packed(store: TokenStore, batch_size: int = 4, seed: int = 1, epochs: float = 2) -> PackedTask:
    return PackedTask(store, store, Order(TrainingLength(epochs=epochs), batch_size, seed), 16, CPU)


def test_packed_rows_are_full_and_hold_every_document_once(store: TokenStore) -> None:
    """The begin of a document ends the one before, so that a document of n tokens takes n - 1 places."""
    one = packed(store)
    tokens = int(store.bounds[-1]) - DOCUMENTS
    assert one.steps_per_epoch == -(-tokens // 16 // 4)
    rows = [row for step in range(int(one.steps_per_epoch)) for row in one.rows(step)]
    assert {len(row) for row in rows[:-1]} == {17}
    stream = np.concatenate([row[:-1] for row in rows])
    assert len(stream) == tokens
    for row, after in itertools.pairwise(rows):
        assert row[-1] == after[0]
    assert rows[-1][-1] == 0
    begins = np.flatnonzero(stream == 0)
    documents = [piece.tolist() for piece in np.split(stream, begins)[1:]]
    assert sorted(documents) == sorted(store[row][:-1].tolist() for row in range(DOCUMENTS))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_begin_of_text_of_its_own_is_packed_before_each_document_and_never_predicted(weighted: bool) -> None:
    """As a checkpoint's may be: it samples after that token, which its training must have seen."""
    begin, end = 60, 61
    documents = [[begin, *range(1, 2 + row % 7), *([] if row % 5 == 0 else [end])] for row in range(40)]  # some are cut
    bounds = np.cumsum([0, *map(len, documents)])
    store = TokenStore(np.concatenate(documents).astype("<u2"), bounds, Marks(begin, end, 62))
    weights = np.ones(40, dtype=np.float32) if weighted else None
    one = PackedTask(store, store, Order(TrainingLength(epochs=1), 4, 1), 16, CPU, weights)
    found = [one.batch(step) for step in range(one.steps)]
    inputs = torch.cat([batch.inputs.flatten() for batch in found])
    targets = torch.cat([batch.targets.flatten() for batch in found])
    assert sorted(targets[targets != IGNORED].tolist()) == sorted(token for ids in documents for token in ids[1:])
    known = targets != IGNORED
    assert (inputs[known] == begin).sum() == 40
    assert bool((targets[known & (inputs == begin)] == 1).all())  # what follows it is a document's first token
    assert sum(batch.tokens for batch in found) == bounds[-1] - 40


def test_packed_epochs_are_permutations_and_rows_a_function_of_the_step(store: TokenStore) -> None:
    one, other = packed(store), packed(store)
    steps = int(one.steps_per_epoch)
    forwards = [one.batch(step) for step in range(2 * steps)]
    for step in reversed(range(2 * steps)):
        assert all(torch.equal(a, b) for a, b in zip(other.batch(step)[:2], forwards[step][:2], strict=True))
    assert not torch.equal(forwards[0][0], forwards[steps][0])
    assert not torch.equal(packed(store, seed=2).batch(0)[0], forwards[0][0])


def test_every_packed_token_counts_alike(store: TokenStore) -> None:
    one = packed(store)
    steps = int(one.steps_per_epoch)
    sizes = [one.size(one.batch(step)) for step in range(steps)]
    assert sum(sizes) == store.bounds[-1] - DOCUMENTS
    assert one.tokens_per_batch == pytest.approx(np.mean(sizes))


@pytest.mark.parametrize("context", [2, 3, 16])
def test_a_document_that_was_cut_keeps_its_last_token_when_packed_and_does_not_end(context: int) -> None:
    """What a packed model learns to predict are the documents' own tokens, as where a document has a row."""
    cut = TokenStore(np.array([0, 5, 6, 7, 0, 8, 0, 0, 9], dtype="<u2"), np.array([0, 4, 7, 9]))  # two have no end
    for seed in range(6):  # all orders
        one = PackedTask(cut, cut, Order(TrainingLength(epochs=1), 8, seed), context, CPU)
        inputs, targets, tokens, *_ = one.batch(0)
        real = targets != IGNORED
        assert sorted(targets[real].tolist()) == [0, 5, 6, 7, 8, 9]
        after = dict(zip(targets[real].tolist(), inputs[real].tolist(), strict=True))
        assert after == {5: 0, 6: 5, 7: 6, 8: 0, 0: 8, 9: 0}
        assert one.tokens_per_batch == tokens == int(real.sum())


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 50), (1.1, 55), (2.2, 110), (0.01, 1), (0.03, 2), (1.001, 51)])
def test_a_part_of_an_epoch_is_the_batches_that_it_begins(epochs: float, steps: int) -> None:
    assert TrainingLength(epochs=epochs).optimizer_steps(50) == steps


@pytest.mark.parametrize("packing", [False, True])
def test_every_target_has_the_weight_of_its_document(store: TokenStore, packing: bool) -> None:
    """Weights are the second token's, which is the document's number; a document's end belongs to it."""
    weights = np.arange(1.0, DOCUMENTS + 1)
    order = Order(TrainingLength(epochs=2), 8, 1)
    one = (
        PackedTask(store, store, order, 16, CPU, weights)
        if packing
        else DocumentTask(store, store, order, CPU, weights)
    )
    plain = PackedTask(store, store, order, 16, CPU) if packing else DocumentTask(store, store, order, CPU)
    sums: dict[float, float] = {}
    for step in range(one.batches_per_epoch):
        batch = one.batch(step)
        targets, found = batch.targets, batch.weights
        assert found is not None
        assert all(torch.equal(*both) for both in zip(batch[:2], plain.batch(step)[:2], strict=True))
        assert torch.equal(found == 0, targets == IGNORED)
        for weight in found[targets != IGNORED].tolist():
            sums[weight] = sums.get(weight, 0) + 1
    targets_of = store.lengths - 1
    assert sums == {weight: count for weight, count in zip(weights.tolist(), targets_of.tolist(), strict=True)}
    assert one.tokens_per_batch * one.batches_per_epoch == pytest.approx(targets_of @ weights)


def test_two_ranks_share_the_weights_of_a_batch_as_they_share_its_documents(store: TokenStore) -> None:
    weights = np.arange(1.0, DOCUMENTS + 1)
    ranks = [
        DocumentTask(store, store, Order(TrainingLength(epochs=1), 8, 1, ProcessGroup(rank, 2)), CPU, weights)
        for rank in range(2)
    ]
    for rank in ranks:
        batch = rank.batch(0)
        assert batch.weights is not None
        assert batch.weights[:, 0].tolist() == batch.targets[:, 0].tolist()


@pytest.mark.parametrize(("architecture", "most"), [("gpt2", 290), ("llama", 810)])
def test_a_training_step_of_a_gpu_never_waits_for_it(
    architecture: str, most: int, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight layers, as the paper's models have; on a CPU, torch takes RMSNorm apart into many launches."""
    monkeypatch.setattr(loss, "ignores_padding", lambda device: True)
    monkeypatch.setattr(network, "causal", partial(F.scaled_dot_product_attention, is_causal=True))
    model = build(Model(architecture=architecture, hidden_size=16, layers=8, heads=2, vocabulary=300), 0)
    launches = of_training_step(model, task(store))
    assert launches.waits == {}
    assert launches.total <= most


def test_what_a_gpu_would_wait_for_is_counted() -> None:
    tensor = torch.arange(4)
    with Launches() as launches:
        tensor[tensor > 1].sum().item()
    assert launches.waits == {"nonzero": 1, "_local_scalar_dense": 1}
