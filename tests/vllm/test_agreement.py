"""vLLM on a CPU and our own sampler sample the same documents where nothing is random, and the same law where it is.

All in float32. The distribution is tested against the model's own probabilities p(next token | document so far), which
are known exactly, so there is one sample per test and no second one to add its noise:

- Every sampled token x gives u = P(a likelier token) + U·p(x), U uniform. If x comes from p, u is uniform on [0, 1),
  whatever the document so far was, and independent of all others. Two statistics: chi-square of u over 50 bins, and the
  correlation of u with the token's before it and with the same place's of the document before it.
- log p(x) of all tokens together has a known mean and variance, so the mean log-likelihood of the documents has a known
  standard error: z = (mean - expected)/SE.
- The first tokens' frequencies against p(first token), chi-square.

Each test rejects a right sampler with probability ALPHA. What a wrong one risks (the power) is computed in
`test_what_the_tests_would_find`, and two wrong ones are caught in the act.
"""

import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from selfloop.domains.text.config import Adapter, Model, Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.pretrained import adapt, begin_pretrained, save_pretrained
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import torch_engine, transformers_engine, vllm_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.errors import UserError

ENGINES = {"torch": torch_engine, "vllm": vllm_engine}
VOCABULARY, CONTEXT = 300, 48
DOCUMENTS = 1500
BINS = 50
ALPHA = 1e-4  # of each test
Z = 3.89  # |z| beyond which a normal number is with probability ALPHA
PLAIN = Sampling()
TRUNCATED = Sampling(temperature=0.7, top_k=20, top_p=0.9)
PENALIZED = Sampling(temperature=0.7, min_p=0.05, repetition_penalty=1.5)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models with random weights whose next tokens depend on the document so far, of entropies as trained ones have."""
    folder = tmp_path_factory.mktemp("checkpoints")
    train_tokenizer(["some text"], VOCABULARY).save(str(folder / "tokenizer.json"))
    found = {}
    for architecture in ("gpt2", "llama"):
        model = Transformer(Shape(architecture, 64, 2, 2, 128, CONTEXT, VOCABULARY))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 2:
                    parameter.normal_(0.0, 0.25, generator=generator)
                else:
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        found[architecture] = folder / architecture
        found[architecture].mkdir()
        weights = {name: weight.detach() for name, weight in model.named_parameters()}
        save_checkpoint(model, weights, folder / "tokenizer.json", found[architecture])
    return found


def sample(
    engine: str,
    checkpoint: Path,
    prompts: np.ndarray,
    sampling: Sampling,
    streams: str = "part",
    tokens: int | None = None,
) -> list[np.ndarray]:
    """Documents, in float32."""
    request = Request(checkpoint, prompts, sampling, streams, precision="float32", threads=1, tokens=tokens)
    return list(ENGINES[engine].sample(request))


def begin(count: int = DOCUMENTS) -> np.ndarray:
    """Prompts of begin-of-text alone."""
    return np.full((count, 1), END_OF_TEXT_ID, dtype=np.int64)


@cache
def begun(engine: str, checkpoint: Path, kind: str) -> list[np.ndarray]:
    """Documents that several tests look at."""
    return sample(engine, checkpoint, begin(), {"plain": PLAIN, "truncated": TRUNCATED}[kind])


# --- the statistics ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampled:
    """Every sampled token of some documents: its place, and all probabilities there.

    Attributes:
        row, position: int [tokens].
        token: int [tokens].
        odds: float64 [tokens, vocabulary], as the settings say it: tempered, cut, normalised.
    """

    row: np.ndarray
    position: np.ndarray
    token: np.ndarray
    odds: np.ndarray


def probabilities(logits: torch.Tensor, sampling: Sampling, tokens: int = VOCABULARY) -> np.ndarray:
    """float64 [rows, vocabulary]: what the settings make of logits, written down anew from their definition."""
    odds = torch.softmax(logits.double() / sampling.temperature, dim=-1).numpy()
    odds[:, tokens:] = 0
    odds /= odds.sum(axis=1, keepdims=True)
    order = np.argsort(-odds, axis=1, kind="stable")
    ranked = np.take_along_axis(odds, order, axis=1)
    if sampling.top_k is not None:
        ranked[:, sampling.top_k :] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
    if sampling.top_p is not None:
        before = ranked.cumsum(axis=1) - ranked
        ranked[before >= sampling.top_p] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
    if sampling.min_p is not None:
        ranked[ranked < sampling.min_p * ranked[:, :1]] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
    np.put_along_axis(odds, order, ranked, axis=1)
    return odds


def look_up(
    checkpoint: Path, documents: list[np.ndarray], sampling: Sampling, given: int = 1, tokens: int = VOCABULARY
) -> Sampled:
    """The sampled tokens of documents, `given` of whose tokens were the prompt."""
    ids = torch.zeros(len(documents), CONTEXT, dtype=torch.int64)
    for row, document in enumerate(documents):
        ids[row, : len(document)] = torch.from_numpy(document)
    with torch.inference_mode():
        logits = torch.cat([load_checkpoint(checkpoint)(part) for part in ids.split(200)])
    if sampling.repetition_penalty != 1:
        held = torch.nn.functional.one_hot(ids, VOCABULARY).cumsum(dim=1) > 0
        penalized = torch.where(logits > 0, logits / sampling.repetition_penalty, logits * sampling.repetition_penalty)
        logits = torch.where(held, penalized, logits)
    row = np.concatenate([np.full(len(document) - given, number) for number, document in enumerate(documents)])
    position = np.concatenate([np.arange(given, len(document)) for document in documents])
    return Sampled(
        row, position, ids.numpy()[row, position], probabilities(logits[row, position - 1], sampling, tokens)
    )


def places(sampled: Sampled) -> np.ndarray:
    """u of every token, float64 [tokens]; likelier tokens have smaller ones."""
    own = np.take_along_axis(sampled.odds, sampled.token[:, None], axis=1)
    likelier = np.where(sampled.odds > own, sampled.odds, 0).sum(axis=1)
    return likelier + np.random.default_rng(0).random(len(own)) * own[:, 0]


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """How probable counts are that differ as much as these from what is expected (the p-value).

    By simulation of the chi-square law; cells are merged, rare ones first, until each expects at least 10.
    """
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    merged = int(np.argmax(expected.cumsum() >= 10)) if expected[0] < 10 else 0
    while merged + 1 < len(expected) and expected[merged + 1] < 10:
        merged += 1
    counts = np.concatenate([[counts[: merged + 1].sum()], counts[merged + 1 :]])
    expected = np.concatenate([[expected[: merged + 1].sum()], expected[merged + 1 :]])
    statistic = float(((counts - expected) ** 2 / expected).sum())
    null = np.random.default_rng(0).chisquare(len(counts) - 1, 200_000)
    return float((null >= statistic).mean())


def uniformity(sampled: Sampled) -> float:
    """p-value of the chi-square test of all u."""
    counts = np.histogram(places(sampled), BINS, (0, 1))[0]
    return chi_square(counts, np.full(BINS, counts.sum() / BINS))


def moments(odds: np.ndarray, log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of `log_odds` [tokens, vocabulary] under `odds`, each [tokens]."""
    finite = np.where(odds > 0, log_odds, 0)
    mean = (odds * finite).sum(axis=1)
    return mean, (odds * finite**2).sum(axis=1) - mean**2


def likelihood(sampled: Sampled) -> float:
    """z of the documents' mean log-likelihood: how many standard errors it is off what the model expects."""
    with np.errstate(divide="ignore"):
        log_odds = np.log(sampled.odds)
    mean, variance = moments(sampled.odds, log_odds)
    own = np.take_along_axis(log_odds, sampled.token[:, None], axis=1)[:, 0]
    return float((own - mean).sum() / np.sqrt(variance.sum()))


def first_tokens(sampled: Sampled) -> float:
    """p-value of the chi-square test of the first sampled tokens' frequencies."""
    first = sampled.position == 1
    counts = np.bincount(sampled.token[first], minlength=VOCABULARY)
    return chi_square(counts, sampled.odds[first][0] * first.sum())


def correlations(sampled: Sampled) -> tuple[float, float]:
    """z of u with the token's before it, and with the same place's of the document before it."""
    grid = np.full((sampled.row.max() + 1, CONTEXT), np.nan)
    grid[sampled.row, sampled.position] = places(sampled) - 0.5

    def z(one: np.ndarray, other: np.ndarray) -> float:
        products = (one * other)[~np.isnan(one * other)]
        return float(products.sum() * 12 / np.sqrt(len(products)))  # centred, u has the variance 1/12

    return z(grid[:, 1:], grid[:, :-1]), z(grid[1:], grid[:-1])


# --- greedy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_greedy_documents_are_the_same_token_for_token(architecture: str, checkpoints: dict[str, Path]) -> None:
    """But where the model's two largest logits are one number up to float32 rounding, and then only from there on."""
    prompts = np.stack([np.zeros(VOCABULARY, dtype=np.int64), np.arange(VOCABULARY)], axis=1)
    greedy = Sampling(temperature=0.0)
    ours, theirs = (sample(engine, checkpoints[architecture], prompts, greedy) for engine in ENGINES)
    assert len({document[2:].tobytes() for document in ours}) > VOCABULARY / 2  # not the same few tokens everywhere
    model = load_checkpoint(checkpoints[architecture])
    ties = 0
    for one, other in zip(ours, theirs, strict=True):
        if not np.array_equal(one, other):
            shared = next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            with torch.inference_mode():
                logits = model(torch.from_numpy(one[None, :shared].astype(np.int64)))[0, -1]
            rivals = logits[[int(one[shared]), int(other[shared])]]
            assert float((logits.max() - rivals).max()) < 1e-4 * float(logits.abs().max())
            ties += 1
    assert ties <= 3, f"{ties} ties among {len(ours)} documents"


@pytest.mark.parametrize(("architecture", "adapter"), [("OPTConfig", None), ("Qwen2Config", Adapter(rank=4))])
def test_a_fine_tuned_checkpoint_is_sampled_as_transformers_samples_it(
    architecture: str, adapter: Adapter | None, tmp_path: Path
) -> None:
    """Greedy documents, with the checkpoint's own begin- and end-of-text; but for ties, as above."""
    source = Model(checkpoint=str(make_source(tmp_path / "source", architecture)), context=CONTEXT)
    model = begin_pretrained(source, 0, fresh=False)
    if adapter is not None:
        adapt(model, adapter, source, 0, None)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in trained.values():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    (tmp_path / "checkpoint").mkdir()
    weights = {name: weight.detach() for name, weight in trained.items()}
    save_pretrained(model, weights, source, tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint/adapter_model.safetensors").exists() == (adapter is not None)
    begin, end = VOCABULARY - 2, VOCABULARY - 1
    prompts = np.array([[begin, first] for first in range(1, 200)])
    greedy = Sampling(temperature=0.0)
    request = Request(tmp_path / "checkpoint", prompts, greedy, "part", "float32", threads=1, end=end)
    ours, theirs = list(transformers_engine.sample(request)), list(vllm_engine.sample(request))
    assert len({document[2:].tobytes() for document in ours}) > 50
    assert sum(not np.array_equal(*pair) for pair in zip(ours, theirs, strict=True)) <= 3


def make_source(folder: Path, architecture: str) -> Path:
    """A checkpoint of random weights, whose begin- and end-of-text are its last two tokens."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
    inner = {"ffn_dim": 128, "word_embed_proj_dim": 64} if architecture == "OPTConfig" else {"intermediate_size": 128}
    shared = {"num_key_value_heads": 1} if architecture == "Qwen2Config" else {}
    ids = {"bos_token_id": VOCABULARY - 2, "eos_token_id": VOCABULARY - 1, "pad_token_id": VOCABULARY - 1}
    tokenizer = train_tokenizer([*(f"word{number} of text" for number in range(60))], VOCABULARY - 2)
    tokenizer.add_tokens([f"<{number}>" for number in range(VOCABULARY - 2 - tokenizer.get_vocab_size())])
    tokenizer.add_special_tokens(["<s>", "</s>"])
    torch.manual_seed(1)
    config = getattr(transformers, architecture)(vocab_size=VOCABULARY, **sizes, **inner, **shared, **ids)
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 0.25)
    network.save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    return folder


# --- the distribution ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_documents_follow_the_models_own_probabilities(
    engine: str, architecture: str, checkpoints: dict[str, Path]
) -> None:
    documents = begun(engine, checkpoints[architecture], "plain")
    sampled = look_up(checkpoints[architecture], documents, PLAIN)
    assert len({document.tobytes() for document in documents if len(document) > 10}) > DOCUMENTS / 2
    assert uniformity(sampled) > ALPHA
    assert first_tokens(sampled) > ALPHA
    assert abs(likelihood(sampled)) < Z
    assert max(map(abs, correlations(sampled))) < Z


@pytest.mark.parametrize("engine", ENGINES)
def test_so_they_do_with_a_temperature_top_k_and_top_p(engine: str, checkpoints: dict[str, Path]) -> None:
    sampled = look_up(checkpoints["llama"], begun(engine, checkpoints["llama"], "truncated"), TRUNCATED)
    assert bool((np.take_along_axis(sampled.odds, sampled.token[:, None], axis=1) > 0).all())
    assert uniformity(sampled) > ALPHA
    assert abs(likelihood(sampled)) < Z


@pytest.mark.parametrize("engine", ENGINES)
def test_so_they_do_with_min_p_and_a_repetition_penalty(engine: str, checkpoints: dict[str, Path]) -> None:
    sampled = look_up(checkpoints["gpt2"], sample(engine, checkpoints["gpt2"], begin(), PENALIZED), PENALIZED)
    assert bool((np.take_along_axis(sampled.odds, sampled.token[:, None], axis=1) > 0).all())
    assert uniformity(sampled) > ALPHA
    assert abs(likelihood(sampled)) < Z


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sampling", [PLAIN, TRUNCATED], ids=["plain", "truncated"])
def test_ids_without_a_token_are_never_sampled_and_the_others_keep_their_odds(
    engine: str, sampling: Sampling, checkpoints: dict[str, Path]
) -> None:
    tokens = 200
    checkpoint = checkpoints["gpt2"]
    documents = sample(engine, checkpoint, begin(), sampling, tokens=tokens)
    assert max(document.max() for document in documents) < tokens
    sampled = look_up(checkpoint, documents, sampling, tokens=tokens)
    assert uniformity(sampled) > ALPHA
    assert abs(likelihood(sampled)) < Z


def test_what_the_tests_would_find(checkpoints: dict[str, Path]) -> None:
    """Power: with these documents, the probability with which each test rejects a temperature that is off."""
    sampled = look_up(checkpoints["gpt2"], begun("torch", checkpoints["gpt2"], "plain"), PLAIN)
    for wrong, at_least in ((1.1, (0.999, 0.999)), (1.02, (0.9, 0.999)), (1.01, (0.01, 0.7))):
        assert all(power >= least for power, least in zip(_power(sampled, wrong), at_least, strict=True)), (
            f"temperature {wrong}: chi-square and log-likelihood find it with probability {_power(sampled, wrong)}"
        )


def _power(sampled: Sampled, temperature: float) -> tuple[float, float]:
    """Of the chi-square of u, and of the log-likelihood, if tokens were drawn at this temperature and not at 1."""
    wrong = sampled.odds ** (1 / temperature)
    wrong /= wrong.sum(axis=1, keepdims=True)
    order = np.argsort(-sampled.odds, axis=1)
    cumulative, of_wrong = (np.take_along_axis(odds, order, axis=1).cumsum(axis=1) for odds in (sampled.odds, wrong))
    edges = np.linspace(0, 1, BINS + 1)
    shares = np.zeros(BINS)
    some = range(0, len(cumulative), max(1, len(cumulative) // 5000))
    for row in some:
        below = np.interp(edges, np.append(0, cumulative[row]), np.append(0, of_wrong[row]))
        shares += np.diff(below) / len(some)
    draws = np.random.default_rng(0)
    shift = len(cumulative) * ((shares - 1 / BINS) ** 2 * BINS).sum()
    limit = np.quantile(draws.chisquare(BINS - 1, 400_000), 1 - ALPHA)
    by_chi_square = (draws.noncentral_chisquare(BINS - 1, shift, 100_000) > limit).mean()
    log_odds = np.log(sampled.odds)
    (mean, variance), (mean_of_wrong, _) = moments(sampled.odds, log_odds), moments(wrong, log_odds)
    expected = (mean_of_wrong - mean).sum() / np.sqrt(variance.sum())
    by_likelihood = (np.abs(draws.normal(expected, 1, 100_000)) > Z).mean()
    return float(by_chi_square), float(by_likelihood)


def test_a_temperature_of_1_1_is_found(checkpoints: dict[str, Path]) -> None:
    documents = sample("vllm", checkpoints["gpt2"], begin(), Sampling(temperature=1.1))
    sampled = look_up(checkpoints["gpt2"], documents, PLAIN)
    assert uniformity(sampled) < ALPHA
    assert likelihood(sampled) < -Z


def test_random_numbers_that_documents_share_are_found(checkpoints: dict[str, Path]) -> None:
    documents = begun("torch", checkpoints["gpt2"], "plain")
    twice = [document for document in documents[:400] for _ in range(2)]
    assert correlations(look_up(checkpoints["gpt2"], twice, PLAIN))[1] > Z


# --- what holds besides --------------------------------------------------------------------------------------------


def test_documents_end_where_the_model_ends_them(checkpoints: dict[str, Path]) -> None:
    for engine in ENGINES:
        documents = begun(engine, checkpoints["gpt2"], "plain")
        ended = [document[-1] == END_OF_TEXT_ID for document in documents]
        assert 0.02 < np.mean(ended) < 0.98
        for document, end in zip(documents, ended, strict=True):
            assert document.dtype == np.int32
            assert document[0] == END_OF_TEXT_ID
            assert END_OF_TEXT_ID not in document[1:-1]
            assert end or len(document) == CONTEXT


def test_the_identity_decides_every_document_and_its_neighbours_do_not(checkpoints: dict[str, Path]) -> None:
    before = begun("vllm", checkpoints["gpt2"], "plain")
    few = sample("vllm", checkpoints["gpt2"], begin(40), PLAIN)
    other = sample("vllm", checkpoints["gpt2"], begin(40), PLAIN, "another part")
    assert [document.tolist() for document in few] == [document.tolist() for document in before[:40]]
    assert not any(np.array_equal(*pair) for pair in zip(few, other, strict=True) if len(pair[0]) > 5)


def test_heads_that_vllm_has_no_kernel_for_are_refused(tmp_path: Path) -> None:
    train_tokenizer(["some text"], VOCABULARY).save(str(tmp_path / "tokenizer.json"))
    model = Transformer(Shape("gpt2", 32, 1, 2, 64, CONTEXT, VOCABULARY))
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    weights = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    save_checkpoint(model, weights, tmp_path / "tokenizer.json", checkpoint)
    with pytest.raises(UserError, match=r"heads are 16 wide .*Allowed: 32, 64"):
        sample("vllm", checkpoint, begin(2), PLAIN)


def test_a_killed_step_leaves_no_vllm_behind(checkpoints: dict[str, Path]) -> None:
    program = f"""
        import logging, pathlib, sys, numpy
        from selfloop.domains.text.config import Sampling
        from selfloop.domains.text.sampling.engine import Request
        from selfloop.domains.text.sampling import vllm_engine
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
        sampling = Sampling()
        checkpoint = pathlib.Path({str(checkpoints["gpt2"])!r})
        vllm_engine.sample(Request(checkpoint, numpy.zeros((10**5, 1), dtype=numpy.int64), sampling, "part"))
    """
    step = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    with step:
        assert step.stdout is not None
        assert any("sequences" in line for line in step.stdout)  # the worker is at work
        workers = psutil.Process(step.pid).children(recursive=True)
        assert workers
        step.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        assert time.monotonic() < deadline, "the worker outlived the step"
        time.sleep(0.1)
