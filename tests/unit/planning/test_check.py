"""What a config may say, what is said about one that is wrong, and that every key is described."""

import copy
import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from selfloop.config import load, models
from selfloop.config.load import read, read_scalars, uncollected
from selfloop.config.section import Section, descriptions
from selfloop.domains.protocol import domain_names, load_domain
from selfloop.domains.text.data import sources
from selfloop.errors import UserError
from selfloop.planning import study
from selfloop.planning.check import check
from selfloop.planning.rules import plan_study

ROOT = Path(__file__).parents[3]
README = ROOT / "config" / "README.md"

BASE = """
experiments:
  a:
    domain: text
    data: {source: packaged, name: shakespeare, rows: 100}
    model: {architecture: gpt2, hidden_size: 16, layers: 1, heads: 2, context: 32}
    training: {batch_size: 8}
    regimes: [replace, accumulate]
    iterations: 3
    seeds: [0]
"""


def base() -> dict[str, Any]:
    checked: dict[str, Any] = yaml.safe_load(BASE)
    return checked


def set_key(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; `None` as a section makes a new one."""
    *sections, last = key.split(".")
    for section in sections:
        config = config.setdefault(section, {})
    config[last] = value


def message(changed: Mapping[str, Any]) -> str:
    """What is said about a wrong config."""
    with pytest.raises(UserError) as caught:
        check(changed)
    return str(caught.value)


# The key to change; its value as YAML; what the one message says, among it the key and the value.
WRONG: list[tuple[str, str, list[str]]] = [
    # wrong types
    ("experiments", "3", ["experiments: 3 is not a mapping"]),
    ("experiments", "{}", ["experiments: {} is not allowed", "at least 1 entry needed"]),
    ("experiments.a", "null", ["experiments.a: null is not a mapping"]),
    ("experiments.a.data", "shakespeare", ["experiments.a.data: 'shakespeare' is not a mapping"]),
    ("experiments.a.model.layers", "two", ["experiments.a.model.layers: 'two' is not an integer", "blocks"]),
    ("experiments.a.model.layers", "2.5", ["experiments.a.model.layers: 2.5 is not an integer"]),
    ("experiments.a.model.layers", "true", ["experiments.a.model.layers: true is not an integer"]),
    ("experiments.a.regimes", "replace", ["experiments.a.regimes: 'replace' is not a list"]),
    ("experiments.a.data.rows", "[]", ["experiments.a.data.rows: [] is not an integer or null"]),
    ("experiments.a.seeds", "[0, -1]", ["experiments.a.seeds[1]: -1 is not allowed", "at least 0"]),
    ("experiments.a.seeds", "5", ["experiments.a.seeds: 5 is not a list", "One chain is run per seed"]),
    # numbers that YAML reads as a string, and numbers that are none
    (
        "experiments.a.training.learning_rate",
        "5e-4",
        ["learning_rate: '5e-4' is not a number", "YAML reads 5e-4 as a string; write 0.0005."],
    ),
    ("experiments.a.training.learning_rate", "5e-8", ["YAML reads 5e-8 as a string; write 5.0e-08."]),
    ("experiments.a.training.batch_size", "'16'", ["batch_size: '16' is not an integer", "in quotes; write 16."]),
    ("experiments.a.training.learning_rate", ".nan", ["learning_rate: .nan is not a finite number"]),
    ("experiments.a.training.epochs", ".inf", ["experiments.a.training.epochs: .inf is not a finite number"]),
    # unknown keys, with the nearest known one
    ("experimets", "{}", ["unknown key 'experimets'", "did you mean 'experiments'?", "Allowed: experiments, regimes"]),
    ("experiments.a.domian", "text", ["experiments.a: unknown key 'domian'", "did you mean 'domain'?"]),
    ("experiments.a.model.layer", "2", ["experiments.a.model: unknown key 'layer'", "did you mean 'layers'?"]),
    ("experiments.a.sampling", "[{temprature: 1.0}]", ["experiments.a.sampling[0]: unknown key 'temprature'"]),
    ("figures.formats", "[pdf]", ["figures.formats[0]: 'pdf' is not allowed", "Allowed: png, svg."]),
    ("experiments.a.data.1", "x", ["experiments.a.data: unknown key '1'"]),
    # unknown names
    (
        "experiments.a.regimes",
        "[replace, acumulate]",
        ["experiments.a.regimes: unknown regime 'acumulate'", "did you mean 'accumulate'?", "Allowed: replace,"],
    ),
    ("experiments.a.domain", "txt", ["experiments.a.domain: unknown domain 'txt'; did you mean 'text'?", "Allowed:"]),
    ("experiments.b", "{like: A}", ["experiments.b.like: unknown experiment 'A'; did you mean 'a'?", "Allowed: a."]),
    ("experiments.a.model.architecture", "GPT-2", ["architecture: 'GPT-2' is not allowed; did you mean 'gpt2'?"]),
    ("experiments.a.data.name", "shakespear", ["experiments.a.data.name: 'shakespear'", "did you mean 'shakespeare'?"]),
    # `like` that leads back
    ("experiments.a.like", "a", ["experiments.a.like: 'a' leads back to 'a'"]),
    ("experiments", "{a: {like: b}, b: {like: a}}", ["experiments.b.like: 'a' leads back to 'b'"]),
    # names that cannot be used
    ("experiments.my study", "{like: a}", ["experiments: 'my study' cannot be a name", "Allowed: Letters, digits"]),
    ("regimes.Mine", "{parts: [{from: real}]}", ["regimes: 'Mine' cannot be a name", "Allowed: Small letters"]),
    ("regimes.replace", "{parts: [{from: real}]}", ["regimes.replace: 'replace' is a built-in regime", "another name"]),
    # numbers out of range
    ("experiments.a.iterations", "0", ["experiments.a.iterations: 0 is not allowed: it must be at least 1"]),
    ("experiments.a.training.epochs", "1.0e-9", ["epochs: 1.0e-09 is not allowed: it must be at least 0.0001"]),
    (
        "experiments.a.training",
        "{epochs: 2, steps: 100}",
        ["experiments.a.training: epochs 2 and steps 100 are both given; give one of epochs and steps."],
    ),
    (
        "experiments.a.training.epochs",
        "null",
        ["experiments.a.training: none is given; give one of epochs and steps."],
    ),
    ("experiments.a.training.steps", "0", ["experiments.a.training.steps: 0 is not allowed: it must be at least 1"]),
    ("experiments.a.training.beta1", "1.0", ["beta1: 1.0 is not allowed: it must be less than 1"]),
    ("experiments.a.model.vocabulary", "65537", ["vocabulary: 65537 is not allowed: it must be at most 65536"]),
    # lists
    ("experiments.a.seeds", "[]", ["experiments.a.seeds: [] is not allowed: at least 1 entry needed"]),
    (
        "experiments.a.seeds",
        "[0, 9223372036854775808]",
        ["experiments.a.seeds[1]: 9223372036854775808 is not allowed: it must be at most 9223372036854775807"],
    ),
    ("experiments.a.seeds", "[0, 1, 0]", ["experiments.a.seeds: [0, 1, 0] is not allowed: 0 is in it twice"]),
    ("experiments.a.regimes", "[replace, replace]", ["experiments.a.regimes", "'replace' is in it twice"]),
    ("experiments.a.sampling", "[{}, {temperature: 1}]", ["experiments.a.sampling[1]", "the same as sampling[0]"]),
    (
        "experiments.a.sampling",
        "[{}, {allow_unended: true}]",
        ["experiments.a.sampling[1]: tables call it 'temperature=1.0', and sampling[0] as well"],
    ),
    # iterations by regime
    (
        "experiments.a.iterations",
        "{replace: 2}",
        ["experiments.a.iterations: {replace: 2} lacks the regime 'accumulate'", "replace, accumulate"],
    ),
    ("experiments.a.iterations", "{replace: 0}", ["experiments.a.iterations.replace: 0 is not allowed", "at least 1"]),
    (
        "experiments.a.iterations",
        "{replace: 2, accumulate: 2, replace-multiple: 2}",
        ["experiments.a.iterations: unknown regime of this experiment 'replace-multiple'", "Allowed: replace, accu"],
    ),
    # regimes of one's own
    ("regimes.mine", "{parts: []}", ["regimes.mine.parts: [] is not allowed: at least 1 entry needed"]),
    ("regimes.mine", "{parts: [{amount: 1}]}", ["regimes.mine.parts[0] lacks the key 'from'", "the real train rows"]),
    (
        "regimes.mine",
        "{parts: [{from: last}]}",
        ["regimes.mine.parts[0].from: 'last' is not allowed", "Allowed: real, fresh, previous, all."],
    ),
    (
        "regimes.mine",
        "{parts: [{from: all, amount: twice}]}",
        [
            "regimes.mine.parts[0].amount: 'twice' is not allowed",
            "a number; `iteration` for n; or a list with one number",
        ],
    ),
    ("regimes.mine", "{parts: [{from: all, amount: -1}]}", ["parts[0].amount: -1 is not allowed", "at least 0"]),
    ("regimes.mine", "{parts: [{from: all, amount: 5e-1}]}", ["parts[0].amount: '5e-1' is not allowed", "write 0.5."]),
    (
        "regimes.mine",
        "{parts: [{from: all, amount: [1, -2]}]}",
        ["regimes.mine.parts[0].amount[1]: -2 is not allowed: it must be at least 0"],
    ),
    (
        "regimes.mine",
        "{parts: [{from: previous, last: 3}]}",
        ["regimes.mine.parts[0].last: 3 is only allowed with from: all, not previous."],
    ),
    (
        "regimes.mine",
        "{parts: [{from: real, by_age: [1, 0.5]}]}",
        ["regimes.mine.parts[0].by_age: [1.0, 0.5] is only allowed with from: all, not real."],
    ),
    (
        "regimes.mine",
        "{parts: [{from: all, amount: 2, by_age: [1]}]}",
        ["regimes.mine.parts[0]: amount 2.0 and by_age [1.0] are both given; give one of amount and by_age."],
    ),
    (
        "regimes.mine",
        "{parts: [{from: fresh, rows: same}]}",
        ["regimes.mine.parts[0].rows: same is not allowed with from: fresh", "take them from: real."],
    ),
    (
        "regimes.mine",
        "{parts: [{from: all, weight: 0}]}",
        ["parts[0].weight: 0 is not allowed: it must be more than 0"],
    ),
    ("regimes.mine", "{parts: [{from: all, rows: new}]}", ["parts[0].rows: 'new' is not allowed", "drawn, same."]),
    ("regimes.mine", "{parts: [{from: all}], budget: 0}", ["regimes.mine.budget: 0 is not allowed", "more than 0"]),
    # what does not fit together
    ("experiments.a.model.heads", "3", ["heads: 3 does not divide model.hidden_size (16)", "Allowed: 1, 2, 4, 8, 16."]),
    (
        "experiments.a.model",
        "{architecture: llama, hidden_size: 12, layers: 1, heads: 4}",
        ["heads: 4 does not divide model.hidden_size into heads of an even width", "Allowed: 1, 2, 3, 6."],
    ),
    (
        "experiments.a.sampling",
        "[{max_length: 33}]",
        ["experiments.a.sampling[0].max_length: 33 is more than the model's context, 32 tokens"],
    ),
    ("experiments.a.data.fraction", "0.5", ["experiments.a.data.rows and data.fraction: 100 and 0.5 are both given"]),
    ("experiments.a.training.batch_size", "101", ["training.batch_size: 101 is more than the 100 documents"]),
    ("experiments.a.data.train", "my.txt", ["experiments.a.data.train: 'my.txt' is given with source: packaged"]),
    # what a source needs
    ("experiments.a.data", "{}", ["experiments.a.data lacks the key 'source'", "Hugging Face hub"]),
    ("experiments.a.data", "{source: packaged}", ["experiments.a.data lacks the key 'name'", "packaged corpus"]),
    ("experiments.a.data", "{source: hub}", ["experiments.a.data lacks the key 'name'", "roneneldan/TinyStories"]),
    ("experiments.a.data", "{source: files}", ["experiments.a.data lacks the key 'train'", "Paths or globs"]),
    (
        "experiments.a.data",
        "{source: files, train: null}",
        ["data.train: null is not allowed with source: files (Paths or globs"],
    ),
    (
        "experiments.a.data",
        "{source: files, train: nowhere/*.txt}",
        ["experiments.a.data.train: 'nowhere/*.txt' matches no file"],
    ),
]


@pytest.mark.parametrize(("key", "value", "expected"), WRONG, ids=[f"{key}={value}" for key, value, _ in WRONG])
def test_what_is_wrong_is_said_in_one_message(key: str, value: str, expected: list[str]) -> None:
    changed = base()
    set_key(changed, key, yaml.safe_load(value))
    said = message(changed)
    assert [part for part in expected if part not in said] == [], said
    assert "\n" not in said
    assert said.endswith((".", ")", "?")), said


@pytest.mark.parametrize("key", ["domain", "data", "model", "regimes", "iterations", "seeds"])
def test_an_experiment_needs_its_keys(key: str) -> None:
    lacking = base()
    del lacking["experiments"]["a"][key]
    assert f"experiments.a lacks the key '{key}'" in message(lacking)


def test_a_config_needs_experiments() -> None:
    assert message({}) == "the config lacks the key 'experiments' (The experiments by name)."


def test_lines_of_a_regime_may_take_real_rows_more_than_once() -> None:
    changed = base()
    amounts = (2.5, "iteration", [0.5, 1.5], 0.7)
    changed["regimes"] = {"mine": {"parts": [{"from": "real", "amount": amount} for amount in amounts]}}
    assert [part.amount for part in check(changed).study.regimes["mine"].parts] == list(amounts)


def test_a_key_that_yaml_reads_as_a_number_is_asked_for_in_quotes() -> None:
    assert "experiments: the key 1 is not a string; put it in quotes." in message({"experiments": {1: {}}})


def test_a_long_value_is_shown_in_part() -> None:
    changed = base()
    changed["experiments"]["a"]["iterations"] = "x" * 1000
    assert len(message(changed)) < 250


def files_config(path: Path, **data: Any) -> dict[str, Any]:
    changed = base()
    changed["experiments"]["a"]["data"] = {"source": "files", "train": str(path), **data}
    return changed


def test_a_text_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "stories.parquet"
    pq.write_table(pa.table({"story": ["once"] * 50, "id": list(range(50))}), path)
    said = message(files_config(path, text_column="storys"))
    assert "experiments.a.data.text_column: 'storys' is not a column of stories.parquet (it has: story, id)" in said
    assert "did you mean 'story'?" in said
    path = tmp_path / "stories.jsonl"
    path.write_text(json.dumps({"story": "once"}) + "\n")
    assert "experiments.a.data.text_column: 'text' is not a column of stories.jsonl" in message(files_config(path))


def test_a_damaged_file_is_named_with_its_section(tmp_path: Path) -> None:
    path = tmp_path / "stories.parquet"
    path.write_bytes(b"PAR1 and no more")
    said = message(files_config(path))
    assert said.startswith(f"experiments.a.data: '{path}' is truncated or damaged")
    path = tmp_path / "stories.jsonl"
    path.write_text("")
    assert message(files_config(path)).startswith(f"experiments.a.data.train: '{path}' has none to train on")


def test_fewer_documents_than_a_batch_are_counted_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_text("".join(f"story {number}\n<|endoftext|>\n" for number in range(8)))
    # one of eight is held out for the test
    assert "training.batch_size: 8 is more than the 7 documents to train on" in message(files_config(path))
    path.write_text("the only story\n<|endoftext|>\n")
    assert f"experiments.a.data.train: '{path}' has none to train on" in message(files_config(path))
    path.write_text("".join(f"story {number}\n<|endoftext|>\n" for number in range(9)))
    assert check(files_config(path)).experiments["a"].data.train == str(path)


def test_a_study_that_would_cut_most_of_its_documents_says_so_with_the_key_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "books.txt"
    path.write_text("<|endoftext|>\n".join("It was a dark and stormy night.\n" * 1000 for _ in range(19)))
    config = files_config(path)
    config["experiments"]["a"]["model"] = {"architecture": "gpt2", "context": 128, "vocabulary": 8000}
    (said,) = plan_study(config).warnings()
    assert said.startswith("experiments.a.model.context: documents are cut at 128 tokens, so about 14")
    assert "(98.4%) are not trained on; data.documents: {tokens: 128}" in said
    config["experiments"]["a"]["data"]["documents"] = {"tokens": 128}
    assert not plan_study(config).warnings()
    config["experiments"]["a"]["data"]["documents"] = {"tokens": 256}
    assert "data.documents.tokens: 256 is more than the model's context, 128 tokens" in message(config)
    config["experiments"]["a"]["data"]["documents"] = {"paragraphs": False}
    assert "data.documents: it divides nothing" in message(config)


def test_what_is_cut_is_said_of_other_sources_too_of_large_ones_by_their_first_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = "It was a dark and stormy night.\n" * 1000
    pq.write_table(pa.table({"text": [book] * 19}), tmp_path / "books.parquet")
    config = files_config(tmp_path / "books.parquet")
    config["experiments"]["a"]["model"] = {"architecture": "gpt2", "context": 128, "vocabulary": 8000}
    (said,) = plan_study(config).warnings()
    assert "tokens (98.4%) are not trained on; data.documents: {tokens: 128}" in said
    (tmp_path / "books.txt").write_text("<|endoftext|>\n".join([book] * 50))
    config["experiments"]["a"]["data"]["train"] = str(tmp_path / "books.txt")
    monkeypatch.setattr(sources, "COUNTED_BYTES", 10**6)
    (said,) = plan_study(config).warnings()
    assert "(98.4%) of the first 33 documents are not trained on" in said
    pairs = [json.dumps({"prompt": "Who?", "text": "I. " * 1000})] * 19
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))
    config["experiments"]["a"]["data"] |= {"train": str(tmp_path / "pairs.jsonl"), "prompt_column": "prompt"}
    (said,) = plan_study(config).warnings()
    assert said.endswith("are not trained on; raise it, as prompts and responses are not divided.")


def test_what_is_cut_of_packaged_text_is_said_once_with_the_tokens_of_the_model_that_training_starts_from() -> None:
    config = base()
    first = config["experiments"]["a"] | {"data": {"source": "packaged", "name": "shakespeare", "min_characters": 80}}
    first["model"] = {"architecture": "gpt2", "context": 96, "vocabulary": 512}
    tuned = {"like": "a", "model": {"checkpoint": {"experiment": "a"}, "context": 96}}
    config["experiments"] = {"a": first, "b": tuned, "c": {"like": "b", "iterations": 2}}
    (said,) = plan_study(config).warnings()
    assert said.startswith("experiments.a.model.context: documents are cut at 96 tokens, so about ")
    assert said.endswith("trains on all of them, in consecutive pieces. The same holds for b, c.")


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (
            {"prompt": {"tokens": 64}, "continue": 64},
            "sampling[0].continue: 64 tokens after a prompt of 65 are more than",
        ),
        ({"prompt": {"tokens": 128}}, "sampling[0].prompt: 129 tokens, begin-of-text included, leave none to sample"),
        ({"continue": 9, "max_length": 10}, "sampling[0].continue: 9 and max_length 10 are both given"),
        ({"prompt": {"tokens": 0}}, "sampling[0].prompt"),
    ],
)
def test_prompts_and_continuations_fit_the_context(tmp_path: Path, sampling: dict[str, object], said: str) -> None:
    config = one_text(tmp_path, sampling)
    assert said in message(config)


def one_text(tmp_path: Path, sampling: dict[str, object]) -> dict[str, Any]:
    """A study of a file of short documents, with one sampling."""
    path = tmp_path / "stories.txt"
    path.write_text("a story\n<|endoftext|>\n" * 100)
    config = files_config(path)
    config["experiments"]["a"]["model"] = {"architecture": "gpt2", "context": 128, "vocabulary": 300}
    config["experiments"]["a"]["sampling"] = [sampling]
    return config


def test_samplings_that_say_nothing_new_keep_their_names(tmp_path: Path) -> None:
    plain = check(one_text(tmp_path, {"prompt": "first-token"})).experiments["a"].sampling[0].plain
    assert plain == {
        "temperature": 1.0,
        "top_k": None,
        "top_p": None,
        "prompt": "first-token",
        "max_length": None,
        "allow_unended": False,
        "engine": "torch",
    }
    asked = {"prompt": {"tokens": 8}, "continue": 8, "min_p": 0.1}
    assert check(one_text(tmp_path, asked)).experiments["a"].sampling[0].plain == {**plain, **asked}


def checkpoint_study(tmp_path: Path, **model: object) -> dict[str, Any]:
    """A study that begins with the weights of a folder."""
    folder = tmp_path / "small-opt"
    if not folder.exists():
        folder.mkdir()
        (folder / "config.json").write_text('{"max_position_embeddings": 64}')
        for name in ("tokenizer.json", "model.safetensors"):
            (folder / name).write_bytes((2).to_bytes(8, "little") + b"{}")
    config = one_text(tmp_path, {})
    config["experiments"]["a"]["model"] = {"checkpoint": str(folder), "context": 64, **model}
    config["experiments"]["a"]["iterations"] = 2
    return config


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"hidden_size": 64}, "model.hidden_size: it is the checkpoint's, "),
        ({"revision": "main"}, "small-opt' is a folder. Allowed is null."),
        ({"context": 65}, "experiments.a.model.context: 65 is more than the 64 positions of "),
        ({"checkpoint": "./nowhere"}, "model.checkpoint: './nowhere' is not a folder (searched from"),
        ({"checkpoint": None}, "model.architecture: it is needed, or a checkpoint. Allowed: gpt2, llama."),
    ],
)
def test_a_checkpoint_is_checked_before_it_is_loaded(tmp_path: Path, model: dict[str, object], said: str) -> None:
    assert said in message(checkpoint_study(tmp_path, **model))


def test_a_checkpoint_needs_its_files_and_beams_a_prompt(tmp_path: Path) -> None:
    config = checkpoint_study(tmp_path)
    check(config)
    config["experiments"]["a"]["sampling"] = [{"beams": 5}]
    assert "sampling[0].beams: without a prompt, all documents would be the same" in message(config)
    (tmp_path / "small-opt/config.json").write_text("{")
    assert "small-opt/config.json' is damaged." in message(config)
    (tmp_path / "small-opt/tokenizer.json").unlink()
    assert "small-opt' has no tokenizer.json; it is a folder as save_pretrained writes it" in message(config)
    (tmp_path / "small-opt/tokenizer.json").touch()
    (tmp_path / "small-opt/model.safetensors").unlink()
    os.mkfifo(tmp_path / "small-opt/model.safetensors")  # nothing waits for it
    assert "small-opt/model.safetensors' is a FIFO (allowed are files)." in message(config)
    plain = one_text(tmp_path, {})
    plain["experiments"]["a"]["training"] = {"start": "checkpoint"}
    assert "training.start: checkpoint is only allowed with model.checkpoint." in message(plain)


@pytest.mark.parametrize(
    "drawn", [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}, {"typical_p": 0.9}]
)
def test_what_a_beam_search_would_ignore_is_refused(tmp_path: Path, drawn: dict[str, float]) -> None:
    config = one_text(tmp_path, {"prompt": {"tokens": 8}, "beams": 5, "repetition_penalty": 2.0})
    check(config)
    config["experiments"]["a"]["sampling"][0] |= drawn
    (key,) = drawn
    assert f"experiments.a.sampling[0].{key}: a beam search of 5 beams draws no token; leave it out." in message(config)


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"window": 129}, "experiments.a.evaluate.window: 129 is more than the model's context, 128 tokens."),
        ({"stride": 128}, "experiments.a.evaluate.stride: 128 is not less than the window, 128 tokens."),
    ],
)
def test_windows_fit_the_context_and_overlap(tmp_path: Path, evaluate: dict[str, int], said: str) -> None:
    config = one_text(tmp_path, {})
    config["experiments"]["a"]["evaluate"] = evaluate
    assert said in message(config)


def test_how_models_are_evaluated_renames_none_and_reruns_their_evaluation(tmp_path: Path) -> None:
    plain, asked = one_text(tmp_path, {}), one_text(tmp_path, {})
    asked["experiments"]["a"]["evaluate"] = {"window": 64}
    plans = [plan_study(copy.deepcopy(config)) for config in (plain, asked)]
    assert [*plans[0].models] == [*plans[1].models]
    jobs = [plan.evaluate_model_settings(SimpleNamespace(model=next(iter(plan.models)))) for plan in plans]
    assert jobs[1] == {**jobs[0], "window": 64, "stride": 32}
    text = load_domain("text")
    steps = [[each.step for each in text.analyses(check(each).experiments)] for each in (plain, asked)]
    assert steps == [["plot_profile"], ["plot_windows", "plot_profile"]]
    asked["experiments"]["b"] = {"like": "a", "evaluate": {"window": 32}}
    with pytest.raises(SystemExit, match=r"experiments\.b\.evaluate: it is another than that of 'a'"):
        plan_study(asked)


def test_a_reserve_of_documents_in_pieces_is_refused(tmp_path: Path) -> None:
    config = one_text(tmp_path, {})
    config["experiments"]["a"]["data"] |= {"reserve": 1.0, "documents": {"paragraphs": True}}
    check(config)
    config["experiments"]["a"]["data"] |= {"documents": {"tokens": 32}}
    assert "data.reserve: 1 is a number of documents, and with data.documents: {tokens: 32} rows are" in message(config)


def test_lengths_are_scored_with_the_tokenizer_and_steps_of_checkpoints_fork_with_transformers(tmp_path: Path) -> None:
    config = tuned_study(tmp_path, regimes=["long"], iterations=2)
    config["filters"] = {"length": {"by": "length", "keep": "highest"}}
    config["regimes"] = {"long": {"parts": [{"from": "previous", "amount": 0.5, "filter": "length"}]}}
    config["experiments"]["a"]["regimes"] = ["replace"]
    plan = plan_study(config)
    own, origin = plan.experiments
    (score,) = {score.file: score for score in plan.scores.values()}.values()
    job = SimpleNamespace(model=score.part.model, part=score.part.name, score=score.name)
    assert plan.score_input(job) == {"part": score.part.folder, "tokenizer": own.tokenizer_file}
    assert own.domain.preload_of(origin.model) == ()
    for name in own.domain.preload_of(own.model):
        assert importlib.util.find_spec(name), name


def prompted_study(tmp_path: Path, suffix: str = "jsonl") -> dict[str, Any]:
    """A study of a file of prompts and responses."""
    path = tmp_path / f"pairs.{suffix}"
    path.write_text('{"prompt": "Who?", "completion": "I."}\n' * 100)
    config = one_text(tmp_path, {})
    data = {"source": "files", "train": str(path), "prompt_column": "prompt", "text_column": "completion"}
    config["experiments"]["a"]["data"] = data
    return config


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("data", {"documents": {"tokens": 32}}, "data.documents: with data.prompt_column, 'prompt', documents are not"),
        ("data", {"prompt_column": "prompts"}, "data.prompt_column: 'prompts' is not a column of pairs.jsonl"),
        ("training", {"packing": True}, "training.packing: with data.prompt_column, 'prompt', it is not possible."),
        ("sampling", [{"prompt": {"tokens": 4}}], "sampling[0].prompt: the prompts are those of data.prompt_column"),
    ],
)
def test_what_does_not_go_with_prompts_is_refused(tmp_path: Path, section: str, value: Any, said: str) -> None:
    config = prompted_study(tmp_path)
    check(config)
    held = config["experiments"]["a"].get(section, {})
    config["experiments"]["a"][section] = {**held, **value} if isinstance(value, dict) else value
    assert said in message(config)


def test_prompts_need_files_with_columns(tmp_path: Path) -> None:
    assert "data.prompt_column: 'prompt' is given, and '" in message(prompted_study(tmp_path, "txt"))
    config = prompted_study(tmp_path)
    config["experiments"]["a"]["data"] = {"source": "packaged", "name": "shakespeare", "prompt_column": "prompt"}
    assert "data.prompt_column: 'prompt' is given with source: packaged; leave it out" in message(config)


def tuned_study(tmp_path: Path, **changes: object) -> dict[str, Any]:
    """A study whose second experiment fine-tunes the first model of the first one, on other data."""
    config = one_text(tmp_path, {})
    other = tmp_path / "other.txt"
    other.write_text("a tale\n<|endoftext|>\n" * 60)
    own = {"like": "a", "data": {"train": str(other)}, "model": {"checkpoint": {"experiment": "a"}}, **changes}
    return {**config, "experiments": {"b": own, **config["experiments"]}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"checkpoint": {"experiment": "c"}}}, "b.model.checkpoint.experiment: unknown experiment 'c'"),
        ({"model": {"checkpoint": {"experiment": "b"}}}, "b.model.checkpoint.experiment: unknown experiment 'b'"),
        ({"seeds": [0, 7]}, "b.seeds: 7 is not among the seeds of 'a', whose model of the same seed"),
        (
            {"model": {"checkpoint": {"experiment": "a"}, "context": 256}},
            "b.model.context: 256 is more than that of 'a'",
        ),
        (
            {"model": {"checkpoint": {"experiment": "a"}, "layers": 3}},
            "b.model.layers: it is the checkpoint's, a; leave",
        ),
        ({"model": {"checkpoint": {"experiment": "a"}, "revision": "x"}}, "b.model.revision: 'x' is given for"),
    ],
)
def test_an_experiment_that_cannot_start_from_another_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    check(tuned_study(tmp_path))
    assert said in message(tuned_study(tmp_path, **changes))


def test_experiments_that_start_from_each_other_and_adapters_as_a_start_are_refused(tmp_path: Path) -> None:
    config = tuned_study(tmp_path)
    config["experiments"]["a"]["model"] = {"checkpoint": {"experiment": "b"}, "context": 128}
    assert "b.model.checkpoint.experiment: 'a' leads back to 'b'; name an experiment that does not." in message(config)
    config = tuned_study(tmp_path, training={"adapter": {"rank": 4}})
    config["experiments"]["c"] = {"like": "a", "model": {"checkpoint": {"experiment": "b"}}}
    assert "c.model.checkpoint: 'b' trains an adapter; name an experiment that trains all weights." in message(config)
    config = tuned_study(tmp_path)
    config["experiments"]["a"]["data"]["seed"] = "per-chain"
    config["experiments"]["b"]["data"]["seed"] = 0
    assert "'a' has data.seed: per-chain, and so a tokenizer for each seed" in message(config)
    config = tuned_study(tmp_path)
    rest = {"regimes": ["replace"], "iterations": 1, "seeds": [0]}
    text = {"source": "packaged", "name": "shakespeare"}
    config["experiments"]["a"] = {"domain": "gaussian", "data": {"dimension": 1, "rows": 9}, **rest}
    config["experiments"]["b"] = {**config["experiments"]["b"], "domain": "text", "data": text, **rest, "like": None}
    assert "'a' is of domain 'gaussian', not 'text'." in message(config)


def test_what_starts_from_another_experiment_is_named_by_that_models_identity(tmp_path: Path) -> None:
    def models(name: str = "a", **training: object) -> dict[str, list[Any]]:
        config = tuned_study(tmp_path)
        config["experiments"]["a"]["training"] = training
        config["experiments"]["b"]["training"] = {"epochs": 2, "learning_rate": 1e-4}
        config["experiments"]["b"]["model"]["checkpoint"]["experiment"] = name
        config["experiments"] = {name if key == "a" else key: entry for key, entry in config["experiments"].items()}
        config["experiments"]["b"]["like"] = name
        plan = plan_study(config)
        found: dict[str, list[Any]] = {}
        for model in plan.models.values():
            found.setdefault(model.experiment.name, []).append(model)
        return found

    plain = models()
    first = next(model for model in plain["a"] if model.iteration == 1)
    assert {model.base for model in plain["b"]} == {first.name}
    assert {model.base for model in plain["a"]} == {None}
    assert {model.name for model in models("other-name")["b"]} == {model.name for model in plain["b"]}
    assert not {model.name for model in models(epochs=3)["b"]} & {model.name for model in plain["b"]}


def test_a_training_reads_checkpoint_and_tokenizer_of_the_experiment_that_it_starts_from(
    tmp_path: Path,
) -> None:
    plan = plan_study(tuned_study(tmp_path))
    model = next(model for model in plan.models.values() if model.base is not None)
    inputs = plan.train_input(SimpleNamespace(model=model.name))
    assert inputs["base"] == f"results/models/{model.base}/checkpoint"
    settings = plan.train_settings(SimpleNamespace(model=model.name))
    assert settings["model"] == {**plan.experiments[0].model.plain, "checkpoint": inputs["base"]}
    own, origin = plan.experiments
    read = plan.train_tokenizer_input(SimpleNamespace(data=own.data_name, tokenizer=own.tokenizer_name))
    assert read["given"] == origin.tokenizer_file != own.tokenizer_file


def test_what_a_checkpoint_holds_and_whether_its_weights_are_taken_name_its_models(tmp_path: Path) -> None:
    def models(**training: str) -> list[str]:
        config = checkpoint_study(tmp_path)
        config["experiments"]["a"]["training"] = training
        return list(plan_study(config).models)

    loaded = models()
    assert loaded[0].startswith("small-opt-")
    assert models(start="checkpoint") == loaded
    fresh, first = models(start="scratch"), models(start="first")
    assert not {*loaded} & {*fresh}
    assert loaded[0] == first[0]
    assert loaded[1] != first[1]
    (tmp_path / "small-opt/model.safetensors").write_bytes((3).to_bytes(8, "little") + b"{ }")
    assert not {*loaded} & {*models()}


# Ten of ten of ten ...
BOMB = b"l0: &l0 {a: 1}\n" + b"".join(
    b"l%d: &l%d [%s]\n" % (level, level, b", ".join([b"*l%d" % (level - 1)] * 10)) for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"experiments:\n  a: {}\n  b: {}\n  a: {}\n", "line 4: duplicate key 'a' (first on line 2)."),
        (b"tables: {x: 1, 'x': 2}", "line 1: duplicate key 'x' (first on line 1)."),
        (b"figures:\n  \xe9", "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8."),
        ("experiments: {}".encode("utf-16"), "line 1: byte 0xff is not UTF-8; save the file as UTF-8."),
        (b"\x00\x01\x02", "unacceptable character #x0000"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "line 1: byte 0xff is not UTF-8"),
        (b"experiments:\n\ta: 1\n", "while scanning for the next token found character that cannot start any token"),
        (b"[" * 5000, "line 1: lists and mappings are nested more than 40 deep."),
        (b"{a: " * 41 + b"}" * 41, "line 1: lists and mappings are nested more than 40 deep."),
        (b'\t{"a":' * 5000, "while scanning"),
        (b'{\n\t"a":' + b"[" * 41 + b"]" * 41 + b"}", "line 2: lists and mappings are nested more than 40 deep."),
        (b"x" * 2**22, "it has 4,194,304 bytes, and a config at most 2,097,152."),
        (BOMB, "line 6: more than 200,000 values, those of aliases (*) counted each time."),
        (BOMB.replace(b"[*", b"{<<: [*").replace(b"]", b"]}"), "line 6: more than 200,000 values"),
        (b"tables: 2026-13-40", "month must be in 1..12"),
        (b"a: b: c", "mapping values are not allowed in this context in"),
        (b"", "it holds no keys."),
    ],
)
def test_a_file_that_is_no_config_is_one_message_of_every_command(tmp_path: Path, text: bytes, said: str) -> None:
    (path := tmp_path / "study.yaml").write_bytes(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_libyaml_reads_where_there_is_one_and_python_where_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issubclass(load._Loader, yaml.cyaml.CParser)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    spec = importlib.util.spec_from_file_location("slow", load.__file__)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(slow := importlib.util.module_from_spec(spec))
    assert not issubclass(slow._Loader, yaml.cyaml.CParser)
    for path in (ROOT / "config/config.yaml", ROOT / "config/paper.yaml"):
        assert slow.read(path) == load.read(path)
    (path := tmp_path / "study.json").write_text('{\n\t"a": 1e-4}')
    assert slow.read(path) == {"a": 1e-4}
    for line, text in ((3, "a: 1\nb: {a: 1,\n a: 2}"), (2, "a: [1, 2]\nb: " + "[" * 41)):
        path.write_text(text)
        for one in (slow, load):
            with pytest.raises(UserError, match=rf"study.json: line {line}: "):
                one.read(path)


def test_what_a_config_may_hold_is_far_below_the_limits(tmp_path: Path) -> None:
    (path := tmp_path / "study.yaml").write_text("a: &a {b: [1, 2]}\nc: [" + "*a, " * 10_000 + "]\n")
    assert len(read(path)["c"]) == 10_000
    path.write_text('{\n\t"experiments": {"a": {}}\n}')
    assert read(path) == {"experiments": {"a": {}}}
    path.write_text('{"rate": 5e-4}')
    assert read(path) == {"rate": 5e-4}, "as Snakemake reads JSON, not YAML"
    for other in (tmp_path, Path("/dev/null")):
        with pytest.raises(UserError, match="it is not a file"):
            read(other)


@pytest.mark.parametrize(
    "text",
    [
        "__use_yte__: true",
        "experiments: {a: {__definitions__: [import os]}}",
        "a: &a {'__use_yte__': true}\n<<: *a",
        '"\\x5f_use_yte__": true',
        "experiments: [{__variables__: {}}]",
        "experiments: {a: {'?if True': {}}}",
    ],
)
def test_a_config_that_would_make_snakemake_run_code_is_refused(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match="makes Snakemake run Python code from this file"):
        read(path)


def test_numbers_on_the_command_line_are_read_as_in_a_file() -> None:
    config = {"tables": {"samples_per_model": "3", "sample_characters": 40}, "seeds": ["0", "1"], "other": {"a": "3"}}
    given = {"tables": {"samples_per_model": "3"}, "seeds": ["0", "1"]}
    read_scalars(config, given)
    assert config == {"tables": {"samples_per_model": 3, "sample_characters": 40}, "seeds": [0, 1], "other": {"a": "3"}}
    config = {"a": ["true", "null", "0.5", "1.0e-4", "5e-4", "text", "2026-01-01", "", "[1]", {"b": "2"}]}
    read_scalars(config, dict(config))
    assert config == {"a": [True, None, 0.5, 1e-4, "5e-4", "text", "2026-01-01", "", "[1]", {"b": 2}]}


def test_keys_that_override_those_of_an_alias_do_not_stand_there_twice(tmp_path: Path) -> None:
    (path := tmp_path / "study.yaml").write_text("""
        a: {inner: &b {<<: &c {x: 1, y: 2}, x: 3}}
        d: {<<: *b, y: 4}
        e: {<<: *c, <<: *b}
    """)
    assert read(path) == {"a": {"inner": {"x": 3, "y": 2}}, "d": {"x": 3, "y": 4}, "e": {"x": 3, "y": 2}}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("experiments: {a: {data: &d {source: x, more: *d}}}", "experiments.a.data.more"),
        ("experiments: &e {a: {regimes: [replace, *e]}}", "experiments.a.regimes[1]"),
    ],
)
def test_what_holds_itself_is_refused_and_what_stands_in_two_places_is_not(text: str, key: str, tmp_path: Path) -> None:
    said = message(yaml.safe_load(text))
    assert said == f"{key}: it is an alias (*) of what it stands in; write out what is meant."
    (file := tmp_path / "study.yaml").write_text(text)
    assert message(read(file)) == said
    same = base()["experiments"]["a"]
    assert set(check({"experiments": {"a": same, "b": same}}).experiments) == {"a", "b"}


def shrinking(**training: Any) -> dict[str, Any]:
    """100 documents, of which iteration 2 trains on 20 and iteration 3 on 7."""
    changed = base()
    changed["regimes"] = {"less": {"parts": [{"from": "previous", "amount": [0.2, 0.07]}]}}
    changed["experiments"]["a"].update(regimes=["replace", "less"], training={"batch_size": 8, **training})
    return changed


def test_a_training_set_smaller_than_a_batch_is_refused_before_anything_is_trained() -> None:
    assert message(shrinking()) == (
        "experiments.a.training.batch_size: 8 is more than the 7 rows that regime 'less' trains on at iteration 3; "
        "take a smaller batch or larger amounts."
    )
    changed = shrinking()
    changed["regimes"]["less"]["budget"] = 0.05
    assert "8 is more than the 5 rows that regime 'less' trains on at iteration 2" in message(changed)


def test_a_training_set_that_fills_a_batch_or_whose_rows_are_not_known_is_not_refused() -> None:
    check(shrinking(batch_size=7))
    check(shrinking(packing=True))  # a batch then holds rows of many documents
    changed = shrinking()
    changed["experiments"]["a"]["iterations"] = {"replace": 3, "less": 2}
    check(changed)
    changed = shrinking()
    del changed["experiments"]["a"]["data"]["rows"]
    check(changed)


def test_a_wrong_config_stops_snakemake_with_its_message_and_without_a_traceback(tmp_path: Path) -> None:
    changed = base()
    changed["experiments"]["a"]["iterations"] = 0
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(changed))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(path)]
    done = subprocess.run([*command, "--dry-run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert said.count("experiments.a.iterations: 0 is not allowed: it must be at least 1") == 1
    assert "Traceback" not in said


# --- what is filled in ---------------------------------------------------------------------------------------------


def test_defaults_are_filled_in() -> None:
    checked = check(base())
    entry = checked.experiments["a"]
    assert [each.plain for each in entry.sampling] == [
        {
            "temperature": 1.0,
            "top_k": None,
            "top_p": None,
            "prompt": "begin-of-text",
            "max_length": None,
            "allow_unended": False,
            "engine": "torch",
        }
    ]
    assert (entry.training.epochs, entry.training.batch_size) == (1.0, 8)
    assert checked.study.figures.formats == ["png", "svg"]
    assert checked.study.checkpointing.every_seconds == 60


def test_training_need_not_be_said() -> None:
    plain = base()
    del plain["experiments"]["a"]["training"]
    assert check(plain).experiments["a"].training.batch_size == 32


def test_the_config_that_is_checked_stays_as_it_is() -> None:
    given = base()
    check(given)
    assert given == base()


def names(config_: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    built = study.build(check(config_))
    return set(built.models), {part.folder for part in built.parts.values()}


def test_defaults_written_out_change_no_artifacts_name() -> None:
    checked = check(base()).plain
    assert checked["experiments"]["a"]["training"].keys() > base()["experiments"]["a"]["training"].keys()
    assert names(checked) == names(base())


def test_whole_and_decimal_numbers_of_the_same_value_give_the_same_names_and_settings() -> None:
    whole, decimal = base(), base()
    whole["experiments"]["a"].update(sampling=[{"temperature": 1}], training={"epochs": 2, "batch_size": 8, "clip": 1})
    decimal["experiments"]["a"].update(
        sampling=[{"temperature": 1.0}], training={"epochs": 2.0, "batch_size": 8.0, "clip": 1.0}, iterations=3.0
    )
    assert names(whole) == names(decimal)
    assert repr(check(whole).plain) == repr(check(decimal).plain)


def test_like_takes_over_what_is_not_said_again_key_by_key() -> None:
    given = base()
    given["experiments"]["b"] = {"like": "a", "model": {"layers": 2}, "seeds": [3]}
    given["experiments"]["c"] = {"like": "b", "iterations": 1}
    entries = check(given).experiments
    assert entries["b"].model == entries["a"].model.changed(layers=2)
    assert entries["b"].data == entries["a"].data
    assert entries["c"].model == entries["b"].model
    assert [(entries[name].iterations, entries[name].seeds) for name in "abc"] == [(3, [0]), (3, [3]), (1, [3])]


def test_iterations_may_differ_by_regime() -> None:
    given = base()
    given["experiments"]["a"]["iterations"] = {"replace": 1, "accumulate": 4}
    built = study.build(check(given))
    assert {chain.regime: len(chain.models) for chain in built.chains} == {"replace": 1, "accumulate": 4}


def first_iteration(**own: Any) -> dict[str, Any]:
    """The base config, with settings of iteration 1's own."""
    given = base()
    given["experiments"]["a"]["training"]["first_iteration"] = own
    return given


def test_iteration_1_may_be_trained_in_another_way() -> None:
    built = study.build(check(first_iteration(epochs=3, learning_rate=1.0e-3)))
    (experiment,) = built.experiments
    assert experiment.training_of(1) == experiment.training.changed(epochs=3.0, learning_rate=1.0e-3)
    for model in built.models.values():
        assert model.training == experiment.training_of(model.iteration)
        assert model.training.epochs == (3.0 if model.iteration == 1 else 1.0)


def test_the_jobs_of_iteration_1_are_told_its_own_settings() -> None:
    built = plan_study(first_iteration(epochs=3, precision="float32"))
    for name, model in built.models.items():
        part = next(part for part in built.parts.values() if part.model == name)
        training = built.train_settings(SimpleNamespace(model=name))["training"]
        precision = built.generate_settings(SimpleNamespace(model=name, part=part.name))["precision"]
        first = model.iteration == 1
        assert (training["epochs"], training["precision"]) == ((3.0, "float32") if first else (1.0, "auto"))
        assert precision == training["precision"]
        # Params are what Snakemake compares: without the key, jobs of studies that have none are the same as ever.
        assert "first_iteration" not in training


def test_another_first_iteration_renames_every_model_and_part_and_keeps_the_data() -> None:
    (plain_models, plain_parts), (models, parts) = names(base()), names(first_iteration(epochs=3))
    assert (len(plain_models), len(plain_parts)) == (len(models), len(parts))
    assert not plain_models & models
    assert not plain_parts & parts


def test_a_first_iteration_like_the_others_changes_no_artifacts_name() -> None:
    assert names(first_iteration(epochs=1, batch_size=8)) == names(first_iteration()) == names(base())


def test_a_default_that_is_written_out_changes_no_artifacts_name() -> None:
    written = first_iteration()
    written["experiments"]["a"]["training"] |= {"epochs": 1.0, "steps": None, "first_iteration": None}
    assert names(written) == names(base())


def test_steps_take_the_place_of_epochs_that_another_experiment_or_iteration_has() -> None:
    given = base()
    given["experiments"]["a"]["training"]["epochs"] = 3
    given["experiments"]["b"] = {"like": "a", "training": {"steps": 50, "first_iteration": {"epochs": 2}}}
    given["experiments"]["c"] = {"like": "b", "training": {"first_iteration": {"steps": 70}}}
    built = study.build(check(given))
    lengths = [
        [(one.training_of(iteration).epochs, one.training_of(iteration).steps) for iteration in (1, 2)]
        for one in built.experiments
    ]
    assert lengths == [[(3, None), (3, None)], [(2, None), (None, 50)], [(None, 70), (None, 50)]]
    plan = plan_study(given)
    for name, model in built.models.items():
        training = plan.train_settings(SimpleNamespace(model=name))["training"]
        assert type(model.training).model_validate(training) == model.training


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"epochs": 1, "steps": 2}, "training.first_iteration: epochs 1 and steps 2 are both given"),
        ({"epochs": 0}, "training.first_iteration.epochs: 0 is not allowed: it must be at least 0.0001"),
        ({"epoch": 1}, "training.first_iteration: unknown key 'epoch'; did you mean 'epochs'?"),
        ({"first_iteration": {"epochs": 1}}, "training.first_iteration: unknown key 'first_iteration'"),
        ({"batch_size": 101}, "training.first_iteration.batch_size: 101 is more than the 100 documents"),
    ],
)
def test_what_is_wrong_with_a_first_iteration_is_said_by_its_key(own: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        check(first_iteration(**own))
    assert f"experiments.a.{said}" in str(error.value)


# --- what is described ---------------------------------------------------------------------------------------------


def described_keys(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[tuple[str, type[Section], str]]:
    """Every key of a section and of those within it: dotted; the section that has it; the field's name."""
    for name, field in section.model_fields.items():
        key = field.alias or name
        yield ".".join((*path, key)), section, name
        for inner in sections_in(field.annotation):
            yield from described_keys(inner, (*path, key))


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """The sections that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from sections_in(inner)


SECTIONS = {"study": models.Study, **{name: load_domain(name).experiment for name in domain_names()}}
KEYS = [(name, key, section, field) for name, top in SECTIONS.items() for key, section, field in described_keys(top)]


def test_the_models_have_keys_of_every_section() -> None:
    keys = {(name, key) for name, key, _, _ in KEYS}
    assert keys > {
        ("study", "regimes.parts.amount"),
        ("text", "iterations"),
        ("text", "sampling.temperature"),
        ("linear", "simulation.grid.rows"),
        ("text", "data.train"),
    }


@pytest.mark.parametrize(("name", "key", "section", "field"), KEYS, ids=[f"{name}:{key}" for name, key, _, _ in KEYS])
def test_every_key_is_described(name: str, key: str, section: type[Section], field: str) -> None:
    assert descriptions(section)[key.rsplit(".", 1)[-1]].endswith((".", ")."))


def test_the_readmes_examples_are_right() -> None:
    text = README.read_text(encoding="utf-8")
    examples = [yaml.safe_load(block.split("```")[0]) for block in text.split("```yaml\n")[1:]]
    complete = [example for example in examples if "experiments" in example]
    assert complete
    for example in complete:
        assert study.build(check(copy.deepcopy(example))).models


# Studies that ask their user for a file.
ASKED = {"learning-rates.yaml": "stories.txt", "molecules.yaml": "conformers.sdf.gz"}
ASKED |= {"tinystories-small.yaml": "stories.txt"}


STUDIES = [path for path in (ROOT / "config").glob("*.yaml") if path.name != "resources.yaml"]


@pytest.mark.parametrize("path", sorted([*STUDIES, *(ROOT / "tests/studies").glob("*.yaml")]))
def test_the_studies_of_this_repository_are_right(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # Whether vLLM is installed here says nothing about a study that asks for it.
    monkeypatch.setattr("selfloop.domains.text.problems.find_vllm", lambda: Path(sys.executable))
    if path.name in ASKED:
        monkeypatch.chdir(tmp_path)
        Path(ASKED[path.name]).write_text("Once upon a time.\n<|endoftext|>\n" * 3000, encoding="utf-8")
    assert study.build(check(yaml.safe_load(path.read_text(encoding="utf-8")))).models


def started(start: str, first: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The base study, whose trainings from iteration 2 on start from other weights, under a regime of real rows."""
    given = base()
    own = given["experiments"]["a"]
    own |= {"regimes": ["replace", "real"], "iterations": 3}
    own["training"] |= {"start": start} | ({} if first is None else {"first_iteration": first})
    return given


@pytest.mark.parametrize("start", ["previous", "first"])
def test_where_a_training_starts_is_an_input_and_part_of_the_name(start: str) -> None:
    scratch, built = (plan_study(started(each)) for each in ("scratch", start))
    for before, chain in zip(scratch.chains, built.chains, strict=True):
        assert chain.models[0].name == before.models[0].name
        assert chain.parts[0] == before.parts[0]
        for place in (1, 2):
            model = chain.models[place]
            assert model.name != before.models[place].name
            expected = chain.models[0 if start == "first" else place - 1].name
            inputs = built.train_input(SimpleNamespace(model=model.name))
            assert inputs["start"] == f"results/models/{expected}/checkpoint"
            assert "start" not in built.train_settings(SimpleNamespace(model=model.name))["training"]  # type: ignore[operator]
        assert "start" not in built.train_input(SimpleNamespace(model=chain.models[0].name))


def test_starting_from_scratch_changes_no_artifacts_name() -> None:
    given = started("scratch")
    unsaid = started("scratch")
    del unsaid["experiments"]["a"]["training"]["start"]
    assert names(given) == names(unsaid)


def test_model_1_starts_from_scratch() -> None:
    said = message(started("previous", {"start": "first"}))
    assert said == "experiments.a.training.first_iteration.start: 'first' cannot be: model 1 starts from scratch."


LINEAR: dict[str, Any] = {"domain": "linear", "data": {"dimension": 2, "rows": 8}, "iterations": 5, "seeds": [0]}


def test_a_reserve_that_is_too_small_is_refused_with_what_is_needed() -> None:
    def with_reserve(reserve: float) -> dict[str, Any]:
        return {
            "experiments": {"a": {**LINEAR, "data": {**LINEAR["data"], "reserve": reserve}, "regimes": ["all-fresh"]}}
        }

    assert message(with_reserve(3.5)) == (
        "experiments.a.data.reserve: 3.5 is not enough for regime 'all-fresh', which takes 4 times the real train rows "
        "from the reserve in 5 iterations; reserve at least 4."
    )
    assert "a.data.reserve: 0 is not enough" in message({"experiments": {"a": {**LINEAR, "regimes": ["all-fresh"]}}})
    check(with_reserve(4))


def test_a_simulation_in_which_no_regime_would_run_is_refused() -> None:
    def packaged(*names: str) -> dict[str, Any]:
        data = {"source": "packaged", "name": "orl", "dimension": 2, "rows": 50, "reserve": 1}
        entry = {"domain": "gaussian", "data": data, "iterations": 2, "seeds": [0], "simulation": {}}
        return {"experiments": {"a": {**entry, "regimes": list(names)}}}

    assert message(packaged("all-fresh")) == (
        "experiments.a.simulation: all of all-fresh take fresh rows, which are not simulated of given data; leave "
        "`simulation` out, or add a regime without them."
    )
    check(packaged("all-fresh", "replace"))


def test_a_regime_whose_amounts_are_all_0_at_an_iteration_is_refused() -> None:
    own = {"late": {"parts": [{"from": "real", "amount": [1, 0]}, {"from": "all", "by_age": [0, 0, 1]}]}}
    assert message({"experiments": {"a": {**LINEAR, "regimes": ["late"]}}, "regimes": own}) == (
        "regimes.late.parts: every amount is 0 at iteration 3, whose model needs rows to be trained on; raise one of "
        "them."
    )


@pytest.mark.parametrize("before", [True, False])
def test_planning_collects_no_garbage_and_leaves_that_as_it_was(before: bool) -> None:
    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(ValueError, match="stop"), uncollected():
            assert not gc.isenabled()
            raise ValueError("stop")
        assert gc.isenabled() == before
    finally:
        gc.enable()
