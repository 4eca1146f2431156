"""How sampled text differs from real text: the referee by its definition, and made samples of every kind."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import zipfian

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.domain import DOMAIN
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.profile.documents import is_whole, without_prompts
from selfloop.domains.text.profile.losses import bands_of, perplexities, token_losses
from selfloop.domains.text.profile.measures import Halves, Real, halves, pieces
from selfloop.domains.text.profile.ngram import DISCOUNT, Text, Trigram, text_of
from selfloop.domains.text.profile.words import mtld, words, zipf_exponent

VOCABULARY, ARTIFACT, TOPICS = 40, 39, 6
Documents = list[list[int]]


def stored(documents: Documents) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.array([token for document in documents for token in (0, *document, 0)], dtype="<u2")
    return tokens, np.cumsum([0, *(len(document) + 2 for document in documents)])


def text(documents: Documents) -> Text:
    return text_of(TokenStore(*stored(documents)))


def direct(documents: Documents, scored: Documents, vocabulary: int) -> list[float]:
    """Interpolated Kneser-Ney by its definition, token by token."""
    grams = [(0, *d, 0)[max(i - 2, 0) : i + 1] for d in documents for i in range(1, len(d) + 2)]
    trigrams = Counter((0, *gram)[-3:] for gram in grams)
    bigrams = Counter(gram[1:] for gram in trigrams)
    words = Counter(gram[1:] for gram in bigrams)

    def below(counts: Counter[tuple[int, ...]], context: tuple[int, ...], word: int, lower: float) -> float:
        following = {gram: count for gram, count in counts.items() if gram[:-1] == context}
        total = sum(following.values())
        if not total:
            return lower
        return (max(following.get((*context, word), 0) - DISCOUNT, 0) + DISCOUNT * len(following) * lower) / total

    logs = []
    for document in scored:
        row = (0, 0, *document, 0)
        for second, before, word in zip(row, row[1:], row[2:], strict=False):
            chance = below(words, (), word, 1 / vocabulary)
            chance = below(bigrams, (before,), word, chance)
            logs.append(math.log(below(trigrams, (second, before), word, chance)))
    return logs


def test_the_referee_is_an_interpolated_kneser_ney_trigram() -> None:
    generator = np.random.default_rng(0)
    known, scored = ([generator.integers(1, 7, size=n).tolist() for n in (5, 1, 9, 3)] for _ in range(2))
    found = Trigram(text(known), vocabulary=7).log_probabilities(text(scored))
    assert found == pytest.approx(direct(known, scored, 7), abs=1e-12)


def test_the_referees_probabilities_sum_to_one() -> None:
    model = Trigram(text([[1, 2, 3, 1, 2], [2, 2]]), vocabulary=5)
    for context in (0, 1, 4):
        every = Text(np.arange(5), np.full(5, context), np.full(5, 1), np.zeros(5, dtype=np.int64))
        assert np.exp(model.log_probabilities(every)).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("how", "kept"),
    [({}, [1, 2, 3, 0, 4, 0]), ({"prompt": "first-token"}, [2, 3, 0, 0]), ({"prompt": {"tokens": 2}}, [3, 0])],
)
def test_tokens_that_the_sampler_was_given_count_in_nothing(how: dict[str, Any], kept: list[int]) -> None:
    store = TokenStore(*stored([[1, 2, 3], [4]]))
    assert text_of(without_prompts(store, Sampling.model_validate(how))).tokens.tolist() == kept


def test_the_entropy_of_a_sampler_is_that_of_a_whole_distribution() -> None:
    assert is_whole(Sampling(temperature=0.7, prompt="first-token"))
    changed = ({"temperature": 0}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.9}, {"beams": 2})
    assert not any(is_whole(Sampling.model_validate(how)) for how in (*changed, {"repetition_penalty": 1.2}))


def test_halves_are_every_other_document_with_as_many_tokens() -> None:
    one, other = halves(text([[1, 2, 3], [4], [5, 6, 7], [8, 9]]))
    assert (one.tokens.tolist(), other.tokens.tolist()) == ([1, 2, 3, 0, 5], [4, 0, 8, 9, 0])


def frequent(count: int) -> list[str]:
    """Words with frequencies that fall like a power."""
    return [f"w{word % 300}" for word in np.random.default_rng(0).zipf(1.5, count).tolist()]


def test_mtld_is_that_of_lexicalrichness() -> None:
    """Version 0.5.1, with threshold=0.72 and a tokenizer that splits at spaces."""
    assert mtld(frequent(2000)) == pytest.approx(5.981634681980469, abs=1e-6)
    assert mtld(frequent(2000)[:50]) == pytest.approx(9.537037037037036, abs=1e-6)


def test_the_zipf_exponent_is_the_likeliest_of_scipys_zipfian() -> None:
    counts = np.sort(list(Counter(frequent(2000)).values()))[::-1]
    ranks, exponent = np.arange(1, len(counts) + 1), zipf_exponent(frequent(2000))
    likelihoods = [(counts * zipfian.logpmf(ranks, exponent + off, len(counts))).sum() for off in (-1e-4, 0, 1e-4)]
    assert max(likelihoods) == likelihoods[1]
    assert exponent == pytest.approx(1.41206034, abs=1e-6)


def test_words_are_told_apart_by_letters_alone() -> None:
    assert words(["To be, or not", "TO be!"]) == ["to", "be", "or", "not", "to", "be"]


def test_bands_have_as_many_tokens_each_and_the_rarest_types_first() -> None:
    assert bands_of(np.array([10, 1, 1, 10, 10, 8, 10])).tolist() == [2, 1, 1, 3, 4, 1, 5]


def test_losses_are_of_each_token_in_the_order_of_the_documents() -> None:
    model = Transformer(Shape("gpt2", 8, 1, 2, 16, 8, VOCABULARY)).eval()
    generator = torch.Generator().manual_seed(0)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3, generator=generator)
    documents = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    store = TokenStore(*stored(documents))
    losses = token_losses(model, store, torch.device("cpu"))
    assert losses.mean() == pytest.approx(cross_entropy(model, store, torch.device("cpu")), rel=1e-6)
    alone = [token_losses(model, TokenStore(*stored([each])), torch.device("cpu")) for each in documents]
    assert losses == pytest.approx(np.concatenate(alone), rel=1e-5)
    flat = token_losses(model, store, torch.device("cpu"), temperature=1e6)
    assert np.abs(flat - math.log(VOCABULARY)).max() < 1e-4
    assert perplexities(losses, text_of(store)) == pytest.approx([each.mean() for each in alone], rel=1e-5)


def source(seed: int) -> np.ndarray:
    """Four successors of every token in every topic, [topics, 4, tokens]: permutations, so that all tokens are as
    frequent whatever the topic."""
    generator = np.random.default_rng(seed)
    return np.stack([[generator.permutation(ARTIFACT - 1) + 1 for _ in range(4)] for _ in range(TOPICS)])


def write(seed: int, topics: int = TOPICS, noise: float = 0.0, artifacts: float = 0.02, documents: int = 400) -> Text:
    """Documents of the first topics; a share of tokens is drawn at random, another is the artifact."""
    generator, successors = np.random.default_rng(seed), source(0)
    found = []
    for _ in range(documents):
        topic, word = generator.integers(topics), int(generator.integers(1, ARTIFACT))
        row = []
        for _ in range(30):
            word = int(successors[topic, generator.integers(4), word - 1])
            word = int(generator.integers(1, ARTIFACT)) if generator.random() < noise else word
            row.append(ARTIFACT if generator.random() < artifacts else word)
        found.append(row)
    return text(found)


KINDS: dict[str, list[dict[str, float]]] = {
    "modal collapse": [{"topics": 6}, {"topics": 3}, {"topics": 1}],
    "towards uniformity": [{"noise": 0.0}, {"noise": 0.2}, {"noise": 0.4}],
    "amplified": [{"artifacts": 0.04}, {"artifacts": 0.065}, {"artifacts": 0.1}],
}


def chains(real: Real, kind: list[dict[str, float]]) -> dict[int, list[tuple[dict[str, float], dict[str, float]]]]:
    found = {}
    for seed in (0, 1, 2):
        samples = [pieces(write(10 * seed + n + 1, **how), len(real.halves[0])) for n, how in enumerate(kind)]  # type: ignore[arg-type]
        before: list[Halves | None] = [None, *samples[:-1]]
        found[seed] = [
            (dict(real.measures(own)) | (real.carried(past, own) if past else {}), dict(real.itself))
            for past, own in zip(before, samples, strict=True)
        ]
    return found


@pytest.fixture(scope="module")
def real() -> Real:
    return Real(halves(write(1000, documents=400)), VOCABULARY)


@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_text_is_named_and_no_other(
    kind: str, real: Real, happening: Callable[..., set[str]]
) -> None:
    assert happening(DOMAIN, chains(real, KINDS[kind])) == {kind}


def test_text_that_stays_as_it_is_while_losses_rise_only_blows_up(
    real: Real, happening: Callable[..., set[str]]
) -> None:
    assert happening(DOMAIN, chains(real, [{}, {}, {}]), (1.0, 1.3, 1.6)) == {"blows up"}
