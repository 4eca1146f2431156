"""Our transformers are those of `transformers`, and so are their checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from selfloop.domains.text.config import Model
from selfloop.domains.text.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, train_tokenizer
from selfloop.domains.text.domain import DOMAIN, parameter_count
from selfloop.domains.text.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.text.model.kv_cache import CacheMemory, KVCache, TorchMemory, cache_memory
from selfloop.domains.text.model.network import Transformer, build, causal
from selfloop.domains.text.model.shape import Shape, shape_of
from selfloop.errors import UserError

ARCHITECTURES = ["gpt2", "llama"]
TEXTS = ["Once upon a time, there was a king.", "Héllo wörld — 你好 \U0001f600\n\ttabs  and   spaces ", " leading"]


def settings(architecture: str, **changes: Any) -> Model:
    """A `model` section."""
    small = {"architecture": architecture, "hidden_size": 32, "layers": 2, "heads": 4, "intermediate_size": 48}
    return Model.model_validate({**small, "context": 24, "vocabulary": 300, **changes})


def random_model(architecture: str, **changes: Any) -> Transformer:
    """A model whose every weight, biases and norms too, is random and large enough to matter."""
    model = Transformer(shape_of(settings(architecture, **changes)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


MEMORIES: list[Callable[..., CacheMemory]] = [TorchMemory, cache_memory]  # of GPUs and of CPUs
kinds_of_memory = pytest.mark.parametrize("kind", MEMORIES, ids=["torch", "blocked"])


def memory_for(
    kind: Callable[..., CacheMemory], model: Transformer, sequences: int, dtype: torch.dtype = torch.float32
) -> CacheMemory:
    return kind(model.shape, sequences, model.shape.context, dtype, torch.device("cpu"))


def random_ids(rows: int, length: int, vocabulary: int = 300) -> torch.Tensor:
    return torch.randint(vocabulary, (rows, length), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(TEXTS * 5, 300).save(str(path))
    return path


def save(model: Transformer, tokenizer: Path, folder: Path) -> Path:
    folder.mkdir()
    save_checkpoint(model, {name: weight.detach() for name, weight in model.named_parameters()}, tokenizer, folder)
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_transformers(architecture: str, tokenizer: Path, tmp_path: Path) -> None:
    model = random_model(architecture)
    theirs = AutoModelForCausalLM.from_pretrained(save(model, tokenizer, tmp_path / "checkpoint")).eval()
    ids = random_ids(3, 24)
    with torch.inference_mode():
        ours, expected = model(ids), theirs(ids).logits
    assert theirs.dtype == torch.float32
    assert expected.std() > 0.5
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_transformers_finds_all_weights_and_no_others(architecture: str, tokenizer: Path, tmp_path: Path) -> None:
    folder = save(random_model(architecture), tokenizer, tmp_path / "checkpoint")
    _, said = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    assert not said["mismatched_keys"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_comes_back_as_it_was(architecture: str, tokenizer: Path, tmp_path: Path) -> None:
    model = random_model(architecture)
    loaded = load_checkpoint(save(model, tokenizer, tmp_path / "checkpoint"))
    assert loaded.shape == model.shape
    assert not loaded.training
    weights = dict(loaded.named_parameters())
    for name, weight in model.named_parameters():
        assert torch.equal(weights.pop(name), weight), name
    assert not weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_loads_in_another_number_format(architecture: str, tokenizer: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(save(random_model(architecture), tokenizer, tmp_path / "checkpoint"), torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_checkpoint_that_lacks_a_tensor_is_named(architecture: str, tokenizer: Path, tmp_path: Path) -> None:
    folder = save(random_model(architecture), tokenizer, tmp_path / "checkpoint")
    tensors = load_file(folder / "model.safetensors")
    lost = {"gpt2": "transformer.h.1.mlp.c_fc.weight", "llama": "model.layers.1.mlp.up_proj.weight"}[architecture]
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"Missing key\(s\) in state_dict: .blocks\.1\.feed_in\.weight"):
        load_checkpoint(folder)


@pytest.mark.parametrize(("key", "value"), [("vocab_size", 301), ("model_type", "bert")])
def test_a_checkpoint_that_does_not_fit_its_config_is_named(
    key: str, value: Any, tokenizer: Path, tmp_path: Path
) -> None:
    folder = save(random_model("llama"), tokenizer, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=r"checkpoint: .*(does not fit its config|allowed: gpt2, llama)"):
        load_checkpoint(folder)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@kinds_of_memory
def test_steps_with_a_cache_give_the_logits_of_a_pass_over_all_positions(
    kind: Callable[..., CacheMemory], architecture: str
) -> None:
    model, ids = random_model(architecture), random_ids(4, 24)
    cache = KVCache(memory_for(kind, model, 4), 0, 4)
    with torch.inference_mode():
        at_once = model(ids)
        for position in range(24):
            logits = model.step(ids[:, position], [cache])
            torch.testing.assert_close(logits, at_once[:, position], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@kinds_of_memory
def test_a_cache_keeps_the_sequences_it_is_told_to(kind: Callable[..., CacheMemory], architecture: str) -> None:
    model, ids = random_model(architecture), random_ids(4, 9)
    cache = KVCache(memory_for(kind, model, 4), 0, 4)
    with torch.inference_mode():
        for position in range(8):
            model.step(ids[:, position], [cache])
        kept = torch.tensor([1, 3])
        cache.keep(kept)
        logits = model.step(ids[kept, 8], [cache])
        torch.testing.assert_close(logits, model(ids[kept])[:, 8], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@kinds_of_memory
def test_sequences_at_different_positions_take_a_step_together(
    kind: Callable[..., CacheMemory], architecture: str
) -> None:
    """The second cache begins when the first is at position 5."""
    model, ids = random_model(architecture), random_ids(7, 24)
    memory = memory_for(kind, model, 7)
    early, late = KVCache(memory, 0, 4), KVCache(memory, 4, 3)
    with torch.inference_mode():
        expected = model(ids)
        for position in range(5):
            model.step(ids[:4, position], [early])
        for position in range(5, 24):
            logits = model.step(torch.cat([ids[:4, position], ids[4:, position - 5]]), [early, late])
            torch.testing.assert_close(logits[:4], expected[:4, position], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(logits[4:], expected[4:, position - 5], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gone", [[0], [1, 2], [0, 1, 2, 3, 4, 5], []])
@kinds_of_memory
def test_caches_close_up_when_sequences_have_gone(kind: Callable[..., CacheMemory], gone: list[int]) -> None:
    """A third cache begins in the rows that the first, of seven sequences, left free, behind the second."""
    model, ids = random_model("gpt2"), random_ids(7 + 6 + len(gone), 24)
    memory = memory_for(kind, model, 13)
    first, second = KVCache(memory, 0, 7), KVCache(memory, 7, 6)
    first.moved = second.moved = 2  # rows at a time, so that what is moved overlaps with where it goes
    with torch.inference_mode():
        expected = model(ids)
        for position in range(6):
            model.step(ids[:13, position], [first, second])
        kept = [row for row in range(7) if row not in gone]
        first.keep(torch.tensor(kept))
        second.move(len(kept))
        third = KVCache(memory, len(kept) + 6, len(gone))
        rows = [*kept, *range(7, 13)]
        for position in range(6, 12):
            new = torch.cat([ids[rows, position], ids[13:, position - 6]])
            logits = model.step(new, [cache for cache in (first, second, third) if len(cache)])
            torch.testing.assert_close(logits[: len(rows)], expected[rows, position], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(logits[len(rows) :], expected[13:, position - 6], rtol=1e-5, atol=1e-5)


@kinds_of_memory
def test_a_cache_may_be_in_bfloat16_under_float32_weights(kind: Callable[..., CacheMemory]) -> None:
    model, ids = random_model("llama"), random_ids(4, 24)
    cache = KVCache(memory_for(kind, model, 4, torch.bfloat16), 0, 4)
    with torch.inference_mode():
        steps = [model.step(ids[:, position], [cache]) for position in range(24)]
    assert steps[-1].dtype == torch.float32
    torch.testing.assert_close(steps[-1], model(ids)[:, -1], rtol=0.05, atol=0.05)


def test_attention_is_in_float32_on_a_cpu() -> None:
    """Its gradients have no error but of their own rounding to bfloat16."""
    given = torch.randn(3, 2, 2, 9, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    found, exact = given.clone().requires_grad_(), given.double().requires_grad_()
    assert causal(*found).dtype == torch.float32
    for mixed in (causal(*found), F.scaled_dot_product_attention(*exact, is_causal=True)):
        torch.autograd.backward((mixed**2).sum())
    assert found.grad is not None and exact.grad is not None
    torch.testing.assert_close(found.grad, exact.grad.bfloat16(), rtol=1 / 256, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_position_sees_what_follows_it(architecture: str) -> None:
    model, ids = random_model(architecture), random_ids(2, 20)
    changed = ids.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 300
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10], after[:, 10])


# The paper's models: the counts of its authors' code (REFERENCE.md, section 1).
PAPER = [
    ("GPT-2 (9M)", settings("gpt2", hidden_size=256, layers=8, context=2048, intermediate_size=None), 8_890_880),
    ("Llama-2 (12M)", settings("llama", hidden_size=256, layers=8, intermediate_size=1024), 12_488_960),
    ("Llama-2 (42M)", settings("llama", hidden_size=512, layers=8, intermediate_size=2048), 41_755_136),
    ("Llama-2 (126M)", settings("llama", hidden_size=768, layers=12, intermediate_size=3072), 125_553_408),
]


@pytest.mark.parametrize(("title", "model", "count"), PAPER, ids=[title for title, *_ in PAPER])
def test_the_papers_models_have_the_papers_sizes(title: str, model: Model, count: int) -> None:
    model = model.changed(vocabulary=8000)
    assert parameter_count(model) == count
    assert DOMAIN.model_title(model) == title
    with torch.device("meta"):
        ours = Transformer(shape_of(model))
    assert sum(parameter.numel() for parameter in ours.parameters()) == count


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("inner", [None, 40])
def test_the_counted_parameters_are_those_of_the_module_and_of_transformers(
    architecture: str, inner: int | None, tokenizer: Path, tmp_path: Path
) -> None:
    model = settings(architecture, intermediate_size=inner)
    ours = Transformer(shape_of(model))
    folder = save(ours, tokenizer, tmp_path / "checkpoint")
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert parameter_count(model) == count == theirs.num_parameters()


def test_sizes_are_read_from_the_config_with_a_feed_forward_of_four_times_the_width() -> None:
    assert shape_of(settings("gpt2", intermediate_size=None)) == Shape("gpt2", 32, 2, 4, 128, 24, 300)
    assert shape_of(settings("gpt2", intermediate_size=9)).intermediate_size == 9


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_are_decided_by_the_seed(architecture: str) -> None:
    one, same, other = (build(settings(architecture), seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_have_the_spread_of_gpt2(architecture: str) -> None:
    model = build(settings(architecture, hidden_size=128, layers=8), 0)
    block = model.blocks[0]
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.get_parameter("qkv.weight").std().item() == pytest.approx(0.02, rel=0.05)
    # residual outputs are scaled down by √(2·8) = 4
    assert block.get_parameter("attention_out.weight").std().item() == pytest.approx(0.005, rel=0.05)
    assert block.get_parameter("feed_out.weight").std().item() == pytest.approx(0.005, rel=0.05)
    assert torch.equal(block.get_parameter("feed_norm.weight"), torch.ones(128))


def test_the_tokenizer_of_a_checkpoint_is_the_one_it_was_trained_with(tokenizer: Path, tmp_path: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(save(random_model("gpt2"), tokenizer, tmp_path / "checkpoint"))
    ours = Tokenizer.from_file(str(tokenizer))
    for text in TEXTS:
        ids = theirs.encode(text, add_special_tokens=False)
        assert ids == ours.encode(text).ids
        assert theirs.decode(ids) == text
    assert (theirs.bos_token_id, theirs.eos_token_id) == (END_OF_TEXT_ID, END_OF_TEXT_ID)
    assert theirs.eos_token == END_OF_TEXT
    assert theirs.model_max_length == 24
    assert theirs.decode([END_OF_TEXT_ID, *ids, END_OF_TEXT_ID], skip_special_tokens=True) == TEXTS[-1]
