"""Sampled documents follow the model's own distribution, and the seed alone decides which they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.kernels.cpu.attention import attention
from selfloop.domains.text.kernels.cpu.choice import choice
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import sampler
from selfloop.domains.text.sampling.sampler import (
    Uniforms,
    choose,
    choose_with_torch,
    compile_kernels,
    penalize,
    sample,
)

PLAIN = Sampling()
ARCHITECTURES = ["gpt2", "llama"]
CONTEXT = 24


def random_model(architecture: str, vocabulary: int = 16, scale: float = 0.25) -> Transformer:
    model = Transformer(Shape(architecture, 16, 2, 2, 32, CONTEXT, vocabulary))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, scale, generator=generator)
    return model.eval()


def begin(count: int) -> torch.Tensor:
    """Prompts of begin-of-text alone."""
    return torch.full((count, 1), END_OF_TEXT_ID)


def draw(model: Transformer, prompts: torch.Tensor, streams: str = "part", **changes: Any) -> list[list[int]]:
    return [ids.tolist() for ids in sample(model, prompts, PLAIN.changed(**changes), streams)]


def test_a_longer_limit_draws_the_same_numbers_and_goes_on() -> None:
    """Samplings that differ in max_length alone share their random numbers."""
    short, long = (Uniforms("part", 0, longest).of(range(3, 700)) for longest in (10, CONTEXT))
    assert torch.equal(short, long[:, :10])
    model = random_model("gpt2")
    whole = draw(model, begin(20), max_length=CONTEXT)
    assert draw(model, begin(20), max_length=8) == [document[:8] for document in whole]


def test_kernels_are_compiled_before_documents_are_sampled() -> None:
    model = random_model("gpt2")
    for kernel in (attention, choice):
        kernel.cache_clear()
    compile_kernels(model, PLAIN, torch.float32, None)
    compiled = [kernel.cache_info().misses for kernel in (attention, choice)]
    draw(model, begin(20))
    assert compiled == [1, 1] == [kernel.cache_info().misses for kernel in (attention, choice)]


# --- one token -----------------------------------------------------------------------------------------------------

ODDS = torch.tensor([0.05, 0.4, 0.0, 0.3, 0.15, 0.1, 0.0])
LOGITS = ODDS.log()  # -inf where the odds are zero


def chosen(uniforms: list[float], logits: torch.Tensor = LOGITS, **changes: Any) -> list[int]:
    given = logits.expand(len(uniforms), -1), torch.tensor(uniforms), PLAIN.changed(**changes)
    tokens: list[int] = choose(*given).tolist()
    if given[2].temperature > 0:  # GPUs choose with the same operations, whatever is cut off
        assert choose_with_torch(*given).tolist() == tokens
    return tokens


def support(**changes: Any) -> set[int]:
    """All tokens that can be chosen: the uniform numbers go over a grid finer than any of the odds."""
    return set(chosen([*np.linspace(0, 1, 2000, endpoint=False).tolist(), ALMOST_ONE], **changes))


ALMOST_ONE = 1 - 2**-24  # the largest float32 below 1


def test_a_uniform_number_picks_the_token_whose_share_it_falls_into() -> None:
    assert chosen([0.0, 0.04, 0.06, 0.44, 0.46, 0.74, 0.76, 0.89, 0.91, 0.999]) == [0, 0, 1, 1, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("size", [7, 100, 1000, 8000])
def test_tokens_of_probability_zero_are_never_sampled(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(200, size, generator=generator) * 3
    logits[:, ::3] = float("-inf")
    logits[:, -3:] = float("-inf")
    for uniform in (0.0, 2**-24, 0.5, 1 - 2**-23, ALMOST_ONE, 1.0):  # 1.0: one that was rounded up
        for way in (choose, choose_with_torch):
            tokens = way(logits, torch.full((200,), uniform), PLAIN)
            assert bool(logits.gather(1, tokens[:, None]).isfinite().all()), uniform


def test_temperature_zero_takes_the_most_likely_token() -> None:
    assert chosen([0.0, 0.5, ALMOST_ONE], temperature=0) == [1, 1, 1]


@pytest.mark.parametrize("temperature", [0.3, 0.7, 2.0])
def test_temperature_raises_the_odds_to_its_inverse(temperature: float) -> None:
    grid = ((np.arange(100_000) + 0.5) / 100_000).tolist()
    counts = np.bincount(chosen(grid, temperature=temperature), minlength=len(ODDS)) / len(grid)
    expected = ODDS.numpy() ** (1 / temperature)
    assert counts == pytest.approx(expected / expected.sum(), abs=2e-5)


@pytest.mark.parametrize(
    ("k", "expected"), [(1, {1}), (2, {1, 3}), (4, {1, 3, 4, 5}), (7, {0, 1, 3, 4, 5}), (99, {0, 1, 3, 4, 5})]
)
def test_top_k_leaves_the_k_most_likely_tokens(k: int, expected: set[int]) -> None:
    assert support(top_k=k) == expected


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.01, {1}), (0.39, {1}), (0.41, {1, 3}), (0.71, {1, 3, 4}), (0.96, {0, 1, 3, 4, 5}), (1.0, {0, 1, 3, 4, 5})],
)
def test_top_p_leaves_the_fewest_tokens_that_hold_p(p: float, expected: set[int]) -> None:
    assert support(top_p=p) == expected


def test_what_is_left_keeps_its_odds() -> None:
    grid = ((np.arange(7000) + 0.5) / 7000).tolist()
    for cut in ({"top_k": 2}, {"top_p": 0.6}):
        counts = np.bincount(chosen(grid, **cut))
        assert counts[1] == pytest.approx(4000, abs=2)
        assert counts[3] == pytest.approx(3000, abs=2)


PROCESSORS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"typical_p": 0.2},
        {"typical_p": 0.9},
        {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.1, "typical_p": 0.5},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.5, "min_p": 0.02},
    ],
)
def test_tokens_have_the_probabilities_that_transformers_processors_give_them(changes: dict[str, float]) -> None:
    """Each token's share of a fine grid of uniform numbers is its probability."""
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(1)) * 2
    held = torch.tensor([[3, 5, 5, 0]])
    theirs = logits.clone()
    if "repetition_penalty" in changes:
        theirs = RepetitionPenaltyLogitsProcessor(changes["repetition_penalty"])(held, theirs)
        penalize(logits, held, changes["repetition_penalty"])
        torch.testing.assert_close(logits, theirs)
    for key, processor in PROCESSORS.items():
        if key in changes:
            theirs = processor(changes[key])(held, theirs)
    expected = theirs.softmax(dim=-1)[0]
    grid = (np.arange(20_000) + 0.5) / 20_000
    counts = torch.bincount(torch.tensor(chosen(grid.tolist(), logits[0], **changes)), minlength=40)
    torch.testing.assert_close(counts / 20_000, expected, rtol=0, atol=1.5e-4)
    assert ((counts > 0) <= (expected > 0)).all()


# --- documents -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_documents_are_those_of_transformers(architecture: str, tmp_path: Path) -> None:
    model = random_model(architecture, vocabulary=300, scale=0.5)
    with torch.no_grad():  # with random norms and biases the same few tokens would be the likeliest everywhere
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    train_tokenizer(["some text"], 300).save(str(tmp_path / "tokenizer.json"))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    save_checkpoint(model, weights, tmp_path / "tokenizer.json", folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = torch.stack([torch.zeros(40, dtype=torch.int64), torch.arange(1, 41)], dim=1)
    expected = theirs.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        max_length=CONTEXT,
        pad_token_id=END_OF_TEXT_ID,
    ).tolist()
    ours = draw(model, prompts, temperature=0)
    assert len({tuple(document[2:]) for document in ours}) > 20
    for document, whole in zip(ours, expected, strict=True):
        assert document == whole[: len(document)]
        assert document[-1] == END_OF_TEXT_ID or len(document) == CONTEXT
        assert not any(whole[len(document) :])


DRAWS = 20_000
# The quantile of chi-square with 15 degrees of freedom that a right sampler exceeds once in a million times.
LIMIT = 57.4


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = counts.sum() * probabilities
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("prompt", [[0], [0, 7]])
def test_next_tokens_are_as_frequent_as_the_model_says(architecture: str, prompt: list[int]) -> None:
    """Power: from the same draws, a temperature of 1.2 in place of 1 is told apart."""
    model = random_model(architecture, scale=0.4)
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        logits = model(ids)[0, -1].double()
    documents = draw(model, ids.expand(DRAWS, -1), max_length=len(prompt) + 1)
    counts = np.bincount([document[len(prompt)] for document in documents], minlength=16)
    assert counts.sum() == DRAWS
    probabilities = logits.softmax(dim=-1).numpy()
    assert probabilities.min() * DRAWS > 5  # so that the statistic follows the chi-square law
    assert chi_square(counts, probabilities) < LIMIT
    assert chi_square(counts, (logits / 1.2).softmax(dim=-1).numpy()) > LIMIT


def test_documents_begin_with_their_prompt_and_end_at_end_of_text_or_the_maximum_length() -> None:
    model = random_model("gpt2")
    prompts = torch.stack([torch.zeros(300, dtype=torch.int64), 1 + torch.arange(300) % 15], dim=1)
    documents = draw(model, prompts, max_length=12)
    assert [document[:2] for document in documents] == prompts.tolist()
    assert all(END_OF_TEXT_ID not in document[1:-1] for document in documents)
    assert all(document[-1] == END_OF_TEXT_ID or len(document) == 12 for document in documents)
    lengths = {len(document) for document in documents}
    assert lengths == set(range(3, 13))


def test_prompts_may_differ_in_length_and_a_document_does_not_depend_on_the_others() -> None:
    model = random_model("gpt2")
    prompts = torch.full((60, 6), -1)
    prompts[:, 0] = 0
    for row in range(60):
        prompts[row, 1 : 1 + row % 6] = 1 + (torch.arange(row % 6) + row) % 15
    documents = draw(model, prompts, max_length=14)
    for document, prompt in zip(documents, prompts, strict=True):
        given = prompt[prompt >= 0].tolist()
        assert document[: len(given)] == given
        assert len(document) > len(given)
        assert END_OF_TEXT_ID not in document[len(given) : -1]
        assert document[-1] == END_OF_TEXT_ID or len(document) == 14
    alike = [row for row in range(60) if row % 6 == 3]  # alone, they are prompts of one length
    assert draw(model, prompts[:4], max_length=14) == documents[:4]
    assert len({tuple(documents[row]) for row in alike}) == len(alike)


def test_a_penalty_counts_what_the_document_holds_and_not_its_neighbours() -> None:
    model = random_model("gpt2", vocabulary=300)
    prompts = torch.stack([torch.zeros(30, dtype=torch.int64), 1 + torch.arange(30)], dim=1)
    documents = draw(model, prompts, repetition_penalty=1e9, temperature=0.0)
    assert all(len(set(document[1:])) == len(document) - 1 for document in documents)
    assert any(len(set(d[1:])) < len(d) - 1 for d in draw(model, prompts, temperature=0.0))
    repeating = draw(model, prompts, repetition_penalty=1e-9)  # a smaller one makes logits infinite
    assert any(len(set(document[1:])) == 1 for document in repeating)


def test_the_maximum_length_is_the_models_context_unless_told() -> None:
    assert max(len(document) for document in draw(random_model("gpt2", vocabulary=300), begin(100))) == CONTEXT


def test_the_same_part_gets_the_same_documents_and_another_part_others() -> None:
    model = random_model("llama", vocabulary=300)
    one, same, other = (draw(model, begin(50), streams=streams) for streams in ("one", "one", "other"))
    assert one == same
    assert sum(a == b for a, b in zip(one, other, strict=True)) <= 2


def test_blocks_have_random_numbers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 20)
    documents = draw(random_model("llama", vocabulary=300), begin(40))
    assert sum(a == b for a, b in zip(documents[:20], documents[20:], strict=True)) <= 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("every", [1, 3, 1000])
@pytest.mark.parametrize("batch", [200, 32])
def test_when_documents_leave_and_join_the_batch_changes_no_document(
    architecture: str, every: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(architecture)
    expected = draw(model, begin(200))
    sizes: list[int] = []
    monkeypatch.setattr(sampler, "CHECK_EVERY", every)
    documents = [ids.tolist() for ids in sample(model, begin(200), PLAIN, "part", sizes.append, batch=batch)]
    assert documents == expected
    assert max(sizes) == batch
    if batch == 200:  # the batch shrinks with every = 1 and never does where it is more than the longest document
        assert (min(sizes) < 100) == (every < 1000)
    elif every == 1:  # it stays nearly full as long as a document waits
        waiting = sizes[: len(sizes) - CONTEXT]
        assert min(waiting) > batch * (1 - 2 * sampler.COMPACT_FROM)


def test_a_slice_is_the_same_whoever_samples_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 20)
    monkeypatch.setattr(sampler, "SLICES", 3)
    model = random_model("llama", vocabulary=300)
    parts = sampler.slices(110)
    assert parts == [range(0, 40), range(40, 80), range(80, 110)]

    def sampled(rows: range) -> list[list[int]]:
        return [ids.tolist() for ids in sample(model, begin(len(rows)), PLAIN, "part", first_row=rows.start)]

    whole = [document for rows in parts for document in sampled(rows)]
    assert [document for rows in reversed(parts) for document in reversed(sampled(rows))] == whole[::-1]
    # A document's random numbers are those of its row: even a part sampled at once is the same but for rounding.
    assert whole == draw(model, begin(110))


@pytest.mark.parametrize(("rows", "size"), [(1, 512), (512, 512), (32_768, 512), (32_769, 1024), (2_119_719, 33_280)])
def test_a_part_has_at_most_64_slices_of_whole_blocks(rows: int, size: int) -> None:
    parts = sampler.slices(rows)
    assert [row for part in parts for row in (part.start, part.stop)][1:-1:2] == [part.start for part in parts[1:]]
    assert (parts[0].start, parts[-1].stop) == (0, rows)
    assert {len(part) for part in parts[:-1]} <= {size}
    assert len(parts) <= sampler.SLICES


def test_documents_that_all_finish_early_end_the_sampling() -> None:
    model = random_model("gpt2")
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.bias.copy_(100 * model.embedding.weight[END_OF_TEXT_ID])
    steps: list[int] = []
    documents = sample(model, begin(10), PLAIN, "part", steps.append)
    assert [ids.tolist() for ids in documents] == [[0, 0]] * 10
    assert len(steps) == sampler.CHECK_EVERY < CONTEXT


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("tokens", [7, 64, 65])
def test_ids_without_a_token_are_never_sampled(tokens: int, temperature: float) -> None:
    model = random_model("llama", vocabulary=130)
    with torch.no_grad():
        model.head.weight[tokens:] *= 50  # they would be the likeliest
    asked = PLAIN.changed(temperature=temperature, max_length=8, top_k=40)
    assert max(max(ids) for ids in sample(model, begin(50), asked, "part")) >= tokens
    assert max(max(ids) for ids in sample(model, begin(50), asked, "part", tokens=tokens)) < tokens


def test_where_all_ids_have_a_token_nothing_changes() -> None:
    model = random_model("gpt2")
    one, other = (sample(model, begin(50), PLAIN, "part", tokens=tokens) for tokens in (None, 16))
    assert [ids.tolist() for ids in one] == [ids.tolist() for ids in other]
