"""Models of `transformers`, of any architecture, go round the loop as our own do."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.config import Adapter, Data, Documents, Model, Prompt, Sampling, Training
from selfloop.domains.text.data.tokenizer import Marks, marks_of, train_tokenizer
from selfloop.domains.text.measure_speed import measure_speed
from selfloop.domains.text.model.checkpoint import load_model, save_checkpoint
from selfloop.domains.text.model.loss import summed_loss, to_batch
from selfloop.domains.text.model.network import build
from selfloop.domains.text.model.pretrained import Pretrained, adapt, begin_pretrained
from selfloop.domains.text.sampling import torch_engine, transformers_engine, vllm_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.steps import (
    evaluate_model,
    evaluate_part,
    generate,
    measure_baseline,
    prepare_data,
    tokenize,
    train,
)
from selfloop.domains.text.steps import train_tokenizer as tokenizer_step
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams

CONTEXT = 32
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
GROUPED = {**SIZES, "num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 64}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "GPT2Config": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "LlamaConfig": GROUPED,
    "OPTConfig": {**SIZES, "ffn_dim": 32, "max_position_embeddings": 64, "word_embed_proj_dim": 16},
    "Qwen2Config": GROUPED,
    "GemmaConfig": {**GROUPED, "head_dim": 8},
}
OTHERS = {
    "BertConfig": {**SIZES, "intermediate_size": 32, "max_position_embeddings": 64},
    "Lfm2Config": GROUPED,
    "Gemma2Config": {**GROUPED, "head_dim": 8},
}
TEXTS = [
    f"Chapter {n}. It was the best of times, it was the worst of times, and {n * n} others. " * 3 for n in range(24)
]
TRAINING = Training(
    batch_size=4, epochs=3, learning_rate=1e-2, warmup_steps=1, evaluations=2, precision="float32", weight_decay=0.0
)


def make_checkpoint(folder: Path, architecture: str) -> Path:
    """A small checkpoint of random weights, whose begin- and end-of-text are two tokens."""
    tokenizer = train_tokenizer(TEXTS, 290)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = getattr(transformers, architecture)(
        vocab_size=300, bos_token_id=290, eos_token_id=291, pad_token_id=291, **(ARCHITECTURES | OTHERS)[architecture]
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


class Loop:
    """The steps of one iteration, below a folder."""

    def __init__(self, folder: Path, model: Model, training: Training = TRAINING, data: Data | None = None) -> None:
        self.folder, self.model, self.training = folder, model, training
        if data is not None:
            self.data = data
            return
        file = folder / "texts.txt"
        file.write_text("\n<|endoftext|>\n".join(TEXTS))
        self.data = Data(source="files", train=str(file), documents=Documents(tokens=CONTEXT), test_fraction=0.2)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def prepare(self) -> None:
        """The real data, as the model reads them, and a training set of them."""
        texts = {split: self.path(f"{split}-texts") for split in ("train", "test", "validation")}
        prepare_data.run(Job({}, texts, prepare_data.Params(data=self.data)))
        asked = {"checkpoint": self.model.checkpoint, "revision": None, "vocabulary": self.model.vocabulary}
        tokenizer = {"tokenizer": self.path("tokenizer.json")}
        tokenizer_step.run(
            Job({"train": texts["train"]}, tokenizer, tokenizer_step.Params(tokenizer=asked), progress=tqdm)
        )
        splits = {split: self.path(split) for split in ("train", "test")}
        tokenize.run(Job({**texts, **tokenizer}, splits, tokenize.Params(data=self.data)))
        self.set_of(splits["train"])

    def set_of(self, part: str) -> None:
        takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
        concatenate = training_set.Params(streams="t", takes=takes, budget=None)
        inputs = {"real": self.path("train"), "parts": [part]}
        training_set.run(Job(inputs, {"training_set": self.path("training-set")}, concatenate))

    def train(self, name: str = "checkpoint", **changes: Any) -> pd.DataFrame:
        """The learning curve."""
        inputs = {key: self.path(key) for key in ("test", "tokenizer.json", "training-set")}
        job = Job(
            input={
                "test": inputs["test"],
                "tokenizer": inputs["tokenizer.json"],
                "training_set": inputs["training-set"],
            },
            output={"checkpoint": self.path(name), "learning_curve": self.path(f"{name}-curve.parquet")},
            params=train.Params(
                streams="a", model=self.model, training=self.training, state=self.path(f"{name}-state")
            ),
            progress=tqdm,
        )
        start = changes.pop("start", None)
        train.run(replace(job, input={**job.input, **({} if start is None else {"start": start})}, **changes))
        return pd.read_parquet(self.path(f"{name}-curve.parquet"))

    def sample(self, sampling: Sampling, name: str = "part") -> list[dict[str, Any]]:
        """The rows of a part."""
        params = generate.Params(
            data=self.data, sampling=sampling, streams="p", precision="float32", iteration=1, part=0
        )
        inputs = {"checkpoint": self.path("checkpoint"), "real": self.path("train")}
        generate.run(Job(inputs, {"part": self.path(name)}, params, progress=tqdm))
        return [
            row
            for batch in iterate_rows(shard_paths(self.folder / name), ["text", "input_ids"])
            for row in batch.to_pylist()
        ]

    def measured(self, step: Any, params: StepParams, **inputs: str) -> dict[str, float]:
        """What a step measures, by name."""
        around = {key: self.path(key) for key in ("checkpoint", "test")} | inputs
        step.run(Job(around, {"measurements": self.path("measured.json")}, params))
        return {row["metric"]: row["value"] for row in json.loads(Path(self.path("measured.json")).read_text())}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_five_architectures_go_round_the_loop(architecture: str, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", architecture)
    loop = Loop(tmp_path, Model(checkpoint=str(source), context=CONTEXT))
    loop.prepare()
    curve = loop.train()
    losses = curve[curve["metric"] == "cross_entropy"]["value"]
    assert losses.iloc[-1] < losses.iloc[0] < math.log(300)
    checkpoint = tmp_path / "checkpoint"
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == marks_of(checkpoint)[:2] == (290, 291)
    assert type(theirs).__name__.startswith(architecture.removesuffix("Config"))

    rows = loop.sample(Sampling(prompt=Prompt(tokens=6), min_p=0.05).changed(continuation=10))
    real = [row for b in iterate_rows(shard_paths(tmp_path / "train"), ["input_ids"]) for row in b[0].to_pylist()]
    assert len(rows) == len(real)
    for row, ids in zip(rows, real, strict=True):
        given = [token for token in ids[:7] if token != 291]
        assert row["input_ids"][: len(given)] == given
        assert given[0] == 290
        assert 291 not in row["input_ids"][:-1]
        assert max(row["input_ids"]) < len(tokenizer)
        assert row["text"] == tokenizer.decode(row["input_ids"], skip_special_tokens=True)

    tests = [row for b in iterate_rows(shard_paths(tmp_path / "test"), ["input_ids"]) for row in b[0].to_pylist()]
    with torch.no_grad():
        sums = [float(theirs(torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1) for ids in tests]
    found = loop.measured(evaluate_model, evaluate_model.Params())
    assert found["cross_entropy"] == pytest.approx(sum(sums) / sum(len(ids) - 1 for ids in tests), rel=1e-4)
    inputs = {"part": loop.path("part"), "first": loop.path("checkpoint"), "real": loop.path("train")}
    part = loop.measured(evaluate_part, evaluate_part.Params(part=0), **inputs)
    assert 0 < part["distinct_2"] <= 1
    baseline = measure_baseline.Params(model=measure_baseline.Seen(context=CONTEXT, vocabulary=None))
    assert found["cross_entropy"] < loop.measured(measure_baseline, baseline, train=loop.path("train"))["cross_entropy"]

    loop.set_of(loop.path("part"))  # the next iteration goes on from this one
    later = loop.train("later", start=loop.path("checkpoint"))
    assert later["value"].map(math.isfinite).all()
    assert marks_of(tmp_path / "later") == Marks(290, 291, 300)


@pytest.mark.parametrize("own", [True, False])
def test_of_prompts_and_responses_the_responses_alone_are_learnt_and_sampled(tmp_path: Path, own: bool) -> None:
    pairs = [{"prompt": f"How many is {n} and {n}?", "completion": f" It is {n + n}."} for n in range(30)]
    pairs.insert(3, {"prompt": "Nothing?", "completion": None})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    named = {"prompt_column": "prompt", "text_column": "completion"}
    data = Data(source="files", train=str(tmp_path / "pairs.jsonl"), test_fraction=0.2, **named)
    source = make_checkpoint(tmp_path / "source", "GPT2Config")
    model = own_checkpoint(tmp_path)[1] if own else Model(checkpoint=str(source), context=CONTEXT)
    loop = Loop(tmp_path, model, data=data)
    loop.prepare()

    tokenizer = Tokenizer.from_file(loop.path("tokenizer.json"))
    real = list(rows_of(tmp_path / "train"))
    assert len(real) == 24
    for row in real:
        prompt, response = row["input_ids"][1 : row["prompt_tokens"]], row["input_ids"][row["prompt_tokens"] :]
        assert tokenizer.decode(prompt).startswith("How many is")
        assert tokenizer.decode(response).startswith(" It is")
        assert row["text"] == tokenizer.decode(prompt) + tokenizer.decode(response)

    curve = loop.train()
    assert curve["value"].map(math.isfinite).all()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    sums, count = 0.0, 0
    for row in rows_of(tmp_path / "test"):
        ids = torch.tensor([row["input_ids"][:CONTEXT]])
        labels = ids.clone()
        labels[0, : row["prompt_tokens"]] = -100
        predicted = int((labels != -100).sum())
        sums += float(theirs(ids, labels=labels).loss.detach()) * predicted
        count += predicted
    found = loop.measured(evaluate_model, evaluate_model.Params())
    assert found["cross_entropy"] == pytest.approx(sums / count, rel=1e-4)
    assert curve[curve["metric"] == "cross_entropy"]["value"].iloc[-1] == pytest.approx(sums / count, rel=1e-4)

    loop.sample(Sampling(allow_unended=True))
    sampled = list(rows_of(tmp_path / "part"))
    given = [row["input_ids"][: row["prompt_tokens"]] for row in sampled]
    assert given == [row["input_ids"][: row["prompt_tokens"]] for row in real]
    assert all(len(row["input_ids"]) > row["prompt_tokens"] for row in sampled)
    inputs = {"part": loop.path("part"), "first": loop.path("checkpoint"), "real": loop.path("train")}
    part = loop.measured(evaluate_part, evaluate_part.Params(part=0), **inputs)
    assert part["mean_length"] < CONTEXT - min(map(len, given))
    loop.set_of(loop.path("part"))  # the next iteration is trained on them, with their prompts
    assert loop.train("later")["value"].map(math.isfinite).all()


def test_perplexity_and_bits_per_byte_are_those_of_the_stated_window_and_stride(tmp_path: Path) -> None:
    """Against the loop of the guide of `transformers`: labels of tokens that an earlier window had are -100."""
    source = make_checkpoint(tmp_path / "source", "LlamaConfig")
    file = tmp_path / "texts.txt"
    file.write_text("\n<|endoftext|>\n".join(TEXTS))
    loop = Loop(tmp_path, Model(checkpoint=str(source), context=CONTEXT), data=Data(source="files", train=str(file)))
    loop.prepare()
    loop.train()
    theirs, tokenizer = (
        load.from_pretrained(tmp_path / "checkpoint") for load in (AutoModelForCausalLM, AutoTokenizer)
    )
    nats, count, size = 0.0, 0, 0
    for batch in iterate_rows(shard_paths(tmp_path / "test"), ["input_ids"]):
        for row in batch.to_pylist():
            ids, before = torch.tensor([row["input_ids"]]), 1
            for begin in range(0, ids.shape[1], 10):
                end = min(begin + 24, ids.shape[1])
                labels = ids[:, begin:end].clone()
                labels[:, : before - begin] = -100
                predicted = end - before
                nats += float(theirs(ids[:, begin:end], labels=labels).loss.detach()) * predicted
                count, before = count + predicted, end
                if end == ids.shape[1]:
                    break
            size += len(tokenizer.decode(row["input_ids"], skip_special_tokens=True).encode())
            assert before == ids.shape[1] > 2 * CONTEXT
    found = loop.measured(evaluate_model, evaluate_model.Params(window=24, stride=10))
    assert found["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    assert found["cross_entropy"] == pytest.approx(
        loop.measured(evaluate_model, evaluate_model.Params())["cross_entropy"]
    )


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({}, "model.safetensors"),
        ({"precision": "bfloat16"}, "model.safetensors"),
        ({"precision": "bfloat16", "adapter": Adapter(rank=4)}, "adapter_model.safetensors"),
    ],
)
def test_a_killed_fine_tuning_goes_on_to_the_same_bytes(changes: dict[str, Any], file: str, tmp_path: Path) -> None:
    """OPT has dropout, which is off: its random numbers would not be those of an uninterrupted training."""
    source = make_checkpoint(tmp_path / "source", "OPTConfig")
    loop = Loop(tmp_path, Model(checkpoint=str(source), context=CONTEXT), TRAINING.changed(**changes))
    loop.prepare()
    loop.train("whole")

    class Killed(tqdm):  # type: ignore[type-arg]
        def update(self, n: float | None = 1) -> bool | None:
            if self.n == 5 and self.unit == "step":
                raise KeyboardInterrupt
            return super().update(n)

    with pytest.raises(KeyboardInterrupt):
        loop.train("killed", progress=Killed, every_seconds=0.0)
    loop.train("killed")
    whole, killed = (load_file(tmp_path / name / file) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert {weight.dtype for weight in whole.values()} == {torch.float32}
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


def rows_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a data set with prompts."""
    for batch in iterate_rows(shard_paths(folder), ["text", "input_ids", "prompt_tokens"]):
        yield from batch.to_pylist()


def own_checkpoint(folder: Path) -> tuple[Path, Model]:
    """A GPT-2 of ours with random weights, and its section."""
    model = Model(architecture="gpt2", hidden_size=16, layers=2, heads=2, context=CONTEXT, vocabulary=300)
    train_tokenizer(TEXTS, 300).save(str(folder / "own.json"))
    network = build(model.changed(initializer_range=0.3), 3)
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    with atomic_folder(folder / "own") as scratch:
        save_checkpoint(network, weights, folder / "own.json", scratch)
    return folder / "own", model


def test_our_gpt2_trains_to_the_same_loss_through_both_paths(tmp_path: Path) -> None:
    own, section = own_checkpoint(tmp_path)
    loop = Loop(tmp_path, Model(checkpoint=str(own), context=CONTEXT))
    loop.prepare()
    theirs = loop.train("theirs")
    assert isinstance(load_model(tmp_path / "theirs"), Pretrained)
    loop.model = section
    ours = loop.train("ours", start=str(own))
    assert len(ours) == len(theirs) > 2
    np.testing.assert_allclose(theirs["value"], ours["value"], rtol=2e-5)


def test_gpt2s_activation_is_one_operation_and_the_same_function(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", "GPT2Config")
    stock = AutoModelForCausalLM.from_pretrained(source).eval()
    ours = begin_pretrained(Model(checkpoint=str(source), context=CONTEXT), 0, fresh=False)
    kinds = [[type(module).__name__ for module in network.modules()] for network in (stock, ours)]
    assert [found.count("NewGELUActivation") for found in kinds] == [2, 0]
    ids = torch.arange(CONTEXT)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), stock(ids).logits, rtol=1e-4, atol=1e-6)


def requested(checkpoint: Path, prompts: np.ndarray, **changes: Any) -> Request:
    return Request(checkpoint, prompts, Sampling().changed(**changes), "part", "float32", tokens=290)


@pytest.mark.parametrize(
    "changes",
    [{}, {"temperature": 0.7, "top_k": 50, "typical_p": 0.9}, {"repetition_penalty": 1.5, "temperature": 0.0}],
)
def test_our_sampler_and_transformers_generate_the_same_documents(tmp_path: Path, changes: dict[str, float]) -> None:
    own, _ = own_checkpoint(tmp_path)
    prompts = np.full((40, 4), -1)
    prompts[:, 0] = 0
    for row in range(40):
        prompts[row, 1 : 1 + row % 4] = 1 + row + np.arange(row % 4)
    ours = [ids.tolist() for ids in torch_engine.sample(requested(own, prompts, **changes))]
    theirs = [ids.tolist() for ids in transformers_engine.sample(requested(own, prompts, **changes))]
    alike = sum(a == b for a, b in zip(ours, theirs, strict=True))
    assert alike >= 39  # a number may fall between two sums that are rounded differently
    assert len({tuple(ids[4:]) for ids in ours}) > 20


def test_beams_find_what_transformers_finds(tmp_path: Path) -> None:
    own, _ = own_checkpoint(tmp_path)
    prompts = np.array([[0, 1 + row, 7, 9] for row in range(12)])
    found = list(transformers_engine.sample(requested(own, prompts, beams=3, repetition_penalty=2.0, max_length=14)))
    theirs = AutoModelForCausalLM.from_pretrained(own).generate(
        torch.from_numpy(prompts),
        attention_mask=torch.ones(12, 4, dtype=torch.int64),
        num_beams=3,
        do_sample=False,
        repetition_penalty=2.0,
        max_length=14,
        pad_token_id=0,
        suppress_tokens=list(range(290, 300)),
    )
    for ids, expected in zip(found, theirs.tolist(), strict=True):
        assert ids.tolist() == expected[: len(ids)]
        assert not any(expected[len(ids) :])


@pytest.mark.parametrize("fresh", [False, True])
def test_capped_logits_are_trained_as_they_are_sampled(fresh: bool, tmp_path: Path) -> None:
    """Gemma 2 caps them at 30, which small ones hardly show."""
    source = make_checkpoint(tmp_path / "source", "Gemma2Config")
    model = begin_pretrained(Model(checkpoint=str(source), context=CONTEXT), 0, fresh)
    ids = torch.arange(CONTEXT)[None]
    with torch.no_grad():
        model.head_weight.mul_(1000)
        expected = torch.nn.functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="sum")
        found = summed_loss(model, to_batch([ids[0].numpy()], torch.device("cpu")))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("architecture", ["Qwen2Config", "OPTConfig"])  # the second has dropout
def test_weights_are_those_of_the_checkpoint_or_fresh_and_decided_by_the_seed(
    architecture: str, tmp_path: Path
) -> None:
    source = make_checkpoint(tmp_path / "source", architecture)
    model = Model(checkpoint=str(source), context=CONTEXT)
    loaded, one, same, other = (
        torch.cat([weight.flatten() for weight in begin_pretrained(model, seed, fresh).parameters()])
        for seed, fresh in ((1, False), (1, True), (1, True), (2, True))
    )
    stored = AutoModelForCausalLM.from_pretrained(source)
    assert torch.equal(loaded, torch.cat([weight.flatten() for weight in stored.parameters()]))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, loaded)


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", "GPT2Config")
    with pytest.raises(UserError, match=r"model\.context: 65 is more than the 64 positions of"):
        begin_pretrained(Model(checkpoint=str(source), context=65), 0, fresh=False)
    (source / "model.safetensors").rename(source / "pytorch_model.bin")  # pickled weights are not read
    with pytest.raises(UserError, match=r"model\.checkpoint: .*source cannot be loaded: "):
        begin_pretrained(Model(checkpoint=str(source), context=16), 0, fresh=False)


def test_an_encoder_which_would_see_what_it_is_to_predict_is_refused(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", "BertConfig")
    with pytest.raises(UserError, match=r"model\.checkpoint: .*source is not a causal language model: its predictions"):
        begin_pretrained(Model(checkpoint=str(source), context=CONTEXT), 0, fresh=False)


@pytest.mark.parametrize(
    ("architecture", "targets", "said"),
    [
        ("GPT2Config", ["nothing"], r"targets: \['nothing'\] does not fit .*source: Target modules .* not found"),
        ("Lfm2Config", None, "targets: None does not fit .*source: Please specify `target_modules`"),
        ("GPT2Config", ["lm_head"], r"targets: \['lm_head'\] has the embeddings of .*source, which are also its head"),
        ("GPT2Config", ["wte"], r"targets: \['wte'\] has the embeddings of .*source, which are also its head"),
    ],
)
def test_targets_that_an_adapter_cannot_have_are_said(
    architecture: str, targets: list[str] | None, said: str, tmp_path: Path
) -> None:
    source = Model(checkpoint=str(make_checkpoint(tmp_path / "source", architecture)), context=CONTEXT)
    with pytest.raises(UserError, match=said):
        adapt(begin_pretrained(source, 0, fresh=False), Adapter(rank=4, targets=targets), source, 0, None)


@pytest.mark.parametrize(("targets", "head"), [(["q_proj", "lm_head"], True), ("all-linear", False)])
def test_all_targets_of_an_adapter_are_trained(targets: Any, head: bool, tmp_path: Path) -> None:
    source = Model(checkpoint=str(make_checkpoint(tmp_path / "source", "LlamaConfig")), context=CONTEXT)
    loop = Loop(tmp_path, source, TRAINING.changed(adapter=Adapter(rank=4, targets=targets), epochs=1))
    loop.prepare()
    curve = loop.train()
    stored = load_file(tmp_path / "checkpoint/adapter_model.safetensors")
    assert any("lm_head" in name for name in stored) == head
    assert all(weight.abs().max() > 0 for weight in stored.values())
    found = loop.measured(evaluate_model, evaluate_model.Params())["cross_entropy"]  # of the merged model
    assert found == pytest.approx(curve["value"].iloc[-1], rel=1e-4)


@pytest.mark.parametrize("architecture", ["GPT2Config", "Qwen2Config"])
def test_an_adapter_alone_is_trained_and_stored_and_merged_where_it_is_used(architecture: str, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", architecture)
    targets = ["c_attn", "c_fc"] if architecture == "GPT2Config" else None
    training = TRAINING.changed(adapter=Adapter(rank=4, alpha=8.0, targets=targets))
    loop = Loop(tmp_path, Model(checkpoint=str(source), context=CONTEXT), training)
    loop.prepare()
    curve = loop.train()
    losses = curve[curve["metric"] == "cross_entropy"]["value"]
    assert losses.iloc[-1] < losses.iloc[0]
    checkpoint = tmp_path / "checkpoint"
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "model.safetensors").exists()

    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), checkpoint).eval()
    ids = torch.tensor([[290, 5, 9, 30]])
    with torch.inference_mode():
        torch.testing.assert_close(load_model(checkpoint)(ids), theirs(ids).logits, rtol=1e-4, atol=1e-5)
        whole = AutoModelForCausalLM.from_pretrained(vllm_engine.merged(checkpoint, tmp_path / "merged"))
        torch.testing.assert_close(whole(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-5)
    assert loop.measured(evaluate_model, evaluate_model.Params())["cross_entropy"] == pytest.approx(
        losses.iloc[-1], rel=1e-4
    )
    assert loop.sample(Sampling(prompt="first-token").changed(continuation=5))

    again = loop.train("again")  # the seed decides the new matrices
    assert again.equals(curve)
    later = loop.train("later", start=loop.path("checkpoint"))  # goes on with the same adapter
    assert later["value"].iloc[-1] < losses.iloc[0]
    stored = json.loads((tmp_path / "later/adapter_config.json").read_text())
    assert (stored["base_model_name_or_path"], stored["r"], stored["lora_alpha"]) == (str(source), 4, 8)


def test_its_speed_is_measured_with_its_own_tokenizer_and_tokens(tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "source", "GPT2Config")  # 292 tokens; `model.vocabulary` is larger by default
    model = Model(checkpoint=str(source), context=CONTEXT)
    train_, sample = measure_speed(Data(source="files", train="a.txt"), model, TRAINING, Sampling(), 20.0, threads=1)
    assert min(train_, sample) > 1e5
