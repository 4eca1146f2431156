"""Cross-entropy in nats per token, whatever the batches and the padding."""

import math

import numpy as np
import pytest
import torch

from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.model.loss import (
    IGNORED,
    LOGITS_AT_ONCE,
    Batch,
    HeadLoss,
    by_length,
    cross_entropy,
    summed_loss,
    to_batch,
)
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape

CPU = torch.device("cpu")
VOCABULARY = 40


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> Transformer:
    model = Transformer(Shape(request.param, 16, 2, 2, 32, 32, VOCABULARY))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def store() -> TokenStore:
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 33, size=50)
    tokens = generator.integers(0, VOCABULARY, size=lengths.sum()).astype("<u2")
    return TokenStore(tokens, np.concatenate([[0], np.cumsum(lengths)]))


def surprises(model: Transformer, document: np.ndarray) -> list[float]:
    """-ln p of every token but the first, one pass of the model for each, in double precision."""
    found = []
    for position in range(1, len(document)):
        ids = torch.from_numpy(document[:position].astype(np.int64))[None]
        with torch.inference_mode():
            logits = model(ids)[0, -1].double()
        found.append(-math.log(math.exp(logits[int(document[position])]) / logits.exp().sum().item()))
    return found


def test_it_is_the_mean_surprise_over_all_tokens_but_the_first(model: Transformer, store: TokenStore) -> None:
    few = TokenStore(store.tokens, store.bounds[:13])
    directly = [value for row in range(12) for value in surprises(model, few[row])]
    assert len(directly) == few.bounds[-1] - 12
    assert cross_entropy(model, few, CPU) == pytest.approx(np.mean(directly), rel=1e-5)


@pytest.mark.parametrize("tokens_per_batch", [1, 50, 333, 100_000])
def test_it_does_not_depend_on_the_batches(model: Transformer, store: TokenStore, tokens_per_batch: int) -> None:
    assert cross_entropy(model, store, CPU, tokens_per_batch) == pytest.approx(
        cross_entropy(model, store, CPU), rel=1e-6
    )


def test_a_model_of_zeros_is_uniform(store: TokenStore) -> None:
    model = Transformer(Shape("gpt2", 16, 1, 2, 32, 32, VOCABULARY))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert cross_entropy(model, store, CPU) == pytest.approx(math.log(VOCABULARY), rel=1e-6)


def test_padding_changes_no_real_position(model: Transformer, store: TokenStore) -> None:
    short, long = sorted((store[row] for row in range(len(store))), key=len)[:: len(store) - 1]
    with torch.inference_mode():
        alone = model(to_batch([short], CPU)[0])
        padded = model(to_batch([short, long], CPU)[0])
    torch.testing.assert_close(padded[0, : len(short) - 1], alone[0], rtol=1e-5, atol=1e-6)


def test_padding_changes_neither_the_loss_nor_its_gradient(model: Transformer, store: TokenStore) -> None:
    batch = to_batch([store[0], store[1], store[2]], CPU)
    rows, length = batch.targets.shape
    targets = torch.nn.functional.pad(batch.targets, (0, 3), value=IGNORED)[:, :32]
    wider = batch._replace(
        inputs=torch.nn.functional.pad(batch.inputs, (0, 3), value=7)[:, :32],
        targets=targets,
        real=(targets.flatten() != IGNORED).nonzero()[:, 0],
    )
    assert wider.inputs.shape > (rows, length)
    found = []
    for each in (batch, wider, wider._replace(real=None, ignores=True)):
        model.zero_grad()
        loss = summed_loss(model, each)
        loss.backward()
        found.append((loss.item(), model.embedding.weight.grad.clone()))
    for loss, gradient in found[1:]:
        assert found[0][0] == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(found[0][1], gradient, rtol=1e-4, atol=1e-7)


def test_the_summed_loss_of_all_documents_is_their_cross_entropy_times_their_tokens(
    model: Transformer, store: TokenStore
) -> None:
    loss = summed_loss(model, to_batch([store[row] for row in range(len(store))], CPU)).item()
    tokens = store.bounds[-1] - len(store)
    assert loss / tokens == pytest.approx(cross_entropy(model, store, CPU), rel=1e-6)


@pytest.mark.parametrize("ignores", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_heads_loss_and_gradients_are_those_of_autograd(
    dtype: torch.dtype, tolerance: float, ignores: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of 7 rows, the last one shorter; with padding where the head ignores it."""
    monkeypatch.setitem(LOGITS_AT_ONCE, False, 7 * VOCABULARY)
    generator = torch.Generator().manual_seed(1)
    hidden, weight = (torch.randn(rows, 16, generator=generator) for rows in (52, VOCABULARY))
    targets = torch.randint(VOCABULARY, (52,), generator=generator)
    if ignores:
        targets[[3, 8, 9, 51]] = IGNORED
    found = []
    for own in (True, False):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight)]
        if own:
            loss = HeadLoss.apply(*leaves, targets, None, ignores)
        else:
            logits = leaves[0].float() @ leaves[1].float().t()
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED)
        (loss / 3).backward()
        found.append([loss.detach(), *(leaf.grad.float() for leaf in leaves)])
    for mine, expected in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance * expected.abs().max())


def test_a_compiled_model_has_the_same_loss_and_gradients() -> None:
    """For batches of different sizes, with one compilation."""
    shape = Shape("llama", 16, 1, 2, 32, 32, VOCABULARY)
    generator = torch.Generator().manual_seed(0)
    found = []
    for compiled in (False, True):
        model = Transformer(shape)
        generator.manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.3, generator=generator)
        if compiled:
            model.compile_hidden()
        for rows, length in ((3, 9), (5, 17)):
            ids = torch.arange(rows * length).view(rows, length) % VOCABULARY
            loss = summed_loss(model, Batch(ids[:, :-1], ids[:, 1:], rows * (length - 1), None, False))
            loss.backward()
            found.append([loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    for mine, expected in zip(found[2] + found[3], found[0] + found[1], strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


def test_targets_are_the_inputs_one_further_on() -> None:
    inputs, targets, tokens, *_ = to_batch([np.array([0, 5, 6, 0]), np.array([0, 7])], CPU)
    assert tokens == 4
    assert inputs.tolist() == [[0, 5, 6], [0, 7, 0]]
    assert targets.tolist() == [[5, 6, 0], [7, IGNORED, IGNORED]]


@pytest.mark.parametrize("tokens_per_batch", [1, 64, 500])
def test_batches_hold_every_sequence_once_and_no_more_tokens_than_they_may(tokens_per_batch: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 40, size=200)
    batches = list(by_length(lengths, tokens_per_batch))
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens_per_batch for batch in batches)


def test_a_weight_counts_a_document_as_often_as_repeating_it_would(model: Transformer, store: TokenStore) -> None:
    documents = [store[row] for row in range(6)]
    thrice = to_batch(documents + documents[:2] * 2, CPU)
    weights = [np.full(len(document) - 1, 3.0 if row < 2 else 1.0) for row, document in enumerate(documents)]
    weighted = to_batch(documents, CPU, weights)
    found = []
    for batch in (weighted, thrice, weighted._replace(real=None, ignores=True)):
        model.zero_grad()
        loss = summed_loss(model, batch)
        loss.backward()
        found.append((loss.item(), [parameter.grad.clone() for parameter in model.parameters()]))
    repeated = found.pop(1)
    for loss, gradients in found:
        assert loss == pytest.approx(repeated[0], rel=1e-5)
        for mine, expected in zip(gradients, repeated[1], strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


def test_weights_of_1_give_the_very_loss_and_gradients_of_none(model: Transformer, store: TokenStore) -> None:
    batch = to_batch([store[row] for row in range(6)], CPU)
    found = []
    for weights in (None, torch.ones(batch.targets.shape)):
        model.zero_grad()
        loss = summed_loss(model, batch._replace(weights=weights))
        loss.backward()
        found.append([loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())])
    assert all(map(torch.equal, *found))


def test_tokens_that_are_given_are_inputs_and_no_targets() -> None:
    sequences = [np.array([0, 5, 6, 7, 0]), np.array([0, 8, 9])]
    batch = to_batch(sequences, torch.device("cpu"), given=np.array([3, 1]))
    assert batch.inputs.tolist() == [[0, 5, 6, 7], [0, 8, 9, 0]]
    assert batch.targets.tolist() == [[IGNORED, IGNORED, 7, 0], [8, 9, IGNORED, IGNORED]]
    assert batch.tokens == 4
    assert batch.real is not None
    assert batch.real.tolist() == [2, 3, 4, 5]
