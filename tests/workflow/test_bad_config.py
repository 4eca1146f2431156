"""Bad input stops before any work, with exit code 1 and one message: the key, what it held, and what is allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Workflow

# What Snakemake says of itself before it reads the Snakefile.
NOTES = ("Using workflow specific profile profiles/default ", "Config file ")


def said(workflow: Workflow) -> list[str]:
    """What a run that must fail says, line by line."""
    return [line for line in workflow.snakemake(code=1).output.splitlines() if not line.startswith(NOTES)]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The tiny study, not run, and some files of data."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("bad") / "tiny", "tests/studies/tiny.yaml")
    (workflow.folder / "stories.jsonl").write_text('{"story": "Once upon a time."}\n' * 9)
    (workflow.folder / "few.txt").write_text("One.\n<|endoftext|>\nTwo.\n<|endoftext|>\nThree.\n")
    return workflow


def files(**data: Any) -> dict[str, Any]:
    """An experiment on the user's own files."""
    return {"data": {"source": "files", **data}}


# What the experiment `tiny` is given, and the whole message.
BAD = {
    "wrong type": (
        {"training": {"learning_rate": "fast"}},
        "experiments.tiny.training.learning_rate: 'fast' is not a number (Peak learning rate of AdamW).",
    ),
    "number that YAML reads as a text": (
        {"training": {"learning_rate": "5e-4"}},
        "experiments.tiny.training.learning_rate: '5e-4' is not a number (Peak learning rate of AdamW)."
        " YAML reads 5e-4 as a string; write 0.0005.",
    ),
    "unknown key": (
        {"sampling": [{"temprature": 0.3}]},
        "experiments.tiny.sampling[0]: unknown key 'temprature'; did you mean 'temperature'?"
        " Allowed: temperature, top_k, top_p, min_p, typical_p, repetition_penalty, prompt, beams, continue,"
        " max_length, allow_unended, engine.",
    ),
    "unknown regime": (
        {"regimes": ["replace", "acumulate"]},
        "experiments.tiny.regimes: unknown regime 'acumulate'; did you mean 'accumulate'?"
        " Allowed: replace, accumulate, replace-multiple, accumulate-subsample, real, real-multiple,"
        " all-fresh.",
    ),
    "no iterations": (
        {"iterations": 0},
        "experiments.tiny.iterations: 0 is not allowed: it must be at least 1"
        " (Model-fitting iterations of every chain, or one number per regime).",
    ),
    "file that is not there": (
        files(train="nowhere/*.txt"),
        "experiments.tiny.data.train: 'nowhere/*.txt' matches no file (searched from {folder})",
    ),
    "text column that is not there": (
        files(train="stories.jsonl", text_column="text"),
        "experiments.tiny.data.text_column: 'text' is not a column of stories.jsonl (it has: story)",
    ),
    "fewer rows than a batch": (
        files(train="few.txt", test="stories.jsonl", text_column="story"),
        "experiments.tiny.training.batch_size: 8 is more than the 3 documents to train on;"
        " take a smaller batch or more documents.",
    ),
}


@pytest.mark.parametrize(("entries", "message"), BAD.values(), ids=BAD)
def test_one_message_and_nothing_else(workflow: Workflow, entries: dict[str, Any], message: str) -> None:
    good = workflow.study

    def spoil(study: dict[str, Any]) -> None:
        del study["experiments"]["tiny-llama"]
        study["experiments"]["tiny"].update(entries)

    workflow.change(spoil)
    try:
        assert said(workflow) == [f"selfloop: {message.format(folder=workflow.folder)}"]
    finally:
        workflow.change(lambda study: study.update(good))
    assert not (workflow.folder / "results").exists()


TOP: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown section": (
        lambda study: study.update(experimens=study.pop("experiments")),
        "the config: unknown key 'experimens'; did you mean 'experiments'?"
        " Allowed: experiments, regimes, filters, checkpointing, figures, tables.",
    ),
    "empty file": (
        lambda study: study.clear(),
        "the config lacks the key 'experiments' (The experiments by name).",
    ),
    "unknown experiment": (
        lambda study: study["experiments"]["tiny-llama"].update(like="tinny"),
        "experiments.tiny-llama.like: unknown experiment 'tinny'; did you mean 'tiny'? Allowed: tiny.",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), TOP.values(), ids=TOP)
def test_the_same_outside_of_an_experiment_s_own_keys(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    workflow = Workflow.fresh(tmp_path / "tiny", "tests/studies/tiny.yaml")
    workflow.change(spoil)
    assert said(workflow) == [f"selfloop: {message}"]


def test_a_key_that_stands_in_a_config_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    """Snakemake alone would keep the last of them without a word."""
    workflow = Workflow.fresh(tmp_path / "tiny", "tests/studies/tiny.yaml")
    path = workflow.folder / workflow.config
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "  tiny: {like: tiny-llama}", ""]))
    twice = f"line {len(lines) + 1}: duplicate key 'tiny' (first on line {lines.index('  tiny:') + 1})."
    assert said(workflow) == [f"selfloop: {workflow.config}: {twice}"]


FILES: dict[str, tuple[bytes, str]] = {
    "Latin-1": (b"experiments:\n  caf\xe9: {}\n", "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8."),
    "UTF-16": ("experiments: {}".encode("utf-16"), "line 1: byte 0xff is not UTF-8; save the file as UTF-8."),
    "deep": (b"a: " + b"[" * 500, "line 1: lists and mappings are nested more than 40 deep."),
    "code": (
        b"__use_yte__: true\n__definitions__: [\"open('run', 'w')\"]\nexperiments: {}\n",
        "the key '__use_yte__' makes Snakemake run Python code from this file; a study needs none, leave it out.",
    ),
}


def test_a_file_that_snakemake_cannot_read_is_the_same_message_and_no_code_in_it_runs(workflow: Workflow) -> None:
    """Snakemake reads it before the Snakefile."""
    path, good = workflow.folder / workflow.config, workflow.study
    try:
        for held, message in FILES.values():
            path.write_bytes(held)
            assert said(workflow) == [f"selfloop: {workflow.config}: {message}"]
    finally:
        path.write_text(yaml.safe_dump(good, sort_keys=False))
    assert not (workflow.folder / "run").exists()


def test_names_of_users_files_and_folders_may_hold_what_snakemake_takes_for_patterns(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "a b$c'd", "tests/studies/tiny.yaml")
    study = tmp_path / "{b}<c>"
    (study / "{d}").mkdir(parents=True)
    name = "{d}/e{f}<g>{{h}}[1]*?\"'$.txt"
    (study / name).write_text("Once upon a time.\n<|endoftext|>\n" * 40)
    workflow.change(lambda config: config["experiments"]["tiny"].update(data={"source": "files", "train": name}))
    run = workflow.snakemake("--directory", str(study), "--until", "prepare_data")
    assert run.jobs == ["prepare_data"], run.output
    assert list((study / "results/data").glob("*/documents/train/*.parquet"))
