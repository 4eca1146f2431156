"""Reruns are exact: after a change, Snakemake runs just what depends on it and everything downstream, nothing else.

The expected sets are worked out by hand. The tiny study has one seed and one temperature, and

    tiny         replace 1-3, accumulate 1-3, replace-multiple 1-2; iteration 1 is one model for all three, which
                 samples part 0, and part 1 for replace-multiple
    tiny-llama   replace 1
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import PLUGINS, Workflow

# The study's page shows the figures.
FIGURES = {"plot_headline", "plot_learning_curves", "plot_synthetic", "text_plot_profile", "write_report"}
# What every change of the measurements, or of their list, ends in.
ANALYSIS = {"collect_metrics", "write_profile", "write_tables", "text_write_paper", *FIGURES}
# The same with the table of samples, which shows each experiment's first seed.
ALL_ANALYSIS = {*ANALYSIS, "write_samples"}


def profiles(*experiments: str, seed: int = 0) -> set[str]:
    """The jobs that compare the samples of all chains of an experiment and a seed with real data."""
    return {f"measure_profile {name} seed{seed}" for name in experiments}


def parts(model: str, *names: str) -> set[str]:
    """The jobs of data sets sampled from a model, by the data sets' names."""
    return {f"{rule} {model} {name}" for rule in ("generate", "evaluate_part") for name in names}


def model(name: str, *part_names: str) -> set[str]:
    """The jobs of a model and of the data sets sampled from it."""
    return {f"{rule} {name}" for rule in ("concatenate", "train", "evaluate_model")} | parts(name, *part_names)


def later(temperature: str = "t1", seed: int = 0) -> set[str]:
    """The jobs of all models after iteration 1."""
    names = ["tiny-replace-2", "tiny-replace-3", "tiny-accumulate-2", "tiny-accumulate-3", "tiny-replace-multiple-2"]
    return set().union(*(model(f"{name} {temperature} seed{seed}", f"{temperature}-part0") for name in names))


def append(text: str, *paths: str) -> Callable[[Workflow], None]:
    """Add a line to the end of files."""

    def edit(workflow: Workflow) -> None:
        for path in paths:
            with (workflow.folder / path).open("a", encoding="utf-8") as file:
                file.write(text)

    return edit


def replace(path: str, old: str, new: str) -> Callable[[Workflow], None]:
    """Replace a text that a file holds once."""

    def edit(workflow: Workflow) -> None:
        file = workflow.folder / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1
        file.write_text(text.replace(old, new), encoding="utf-8")

    return edit


def touch(*patterns: str) -> Callable[[Workflow], None]:
    """Give files the time of now, as `touch` and `git checkout` do."""

    def edit(workflow: Workflow) -> None:
        paths = [path for pattern in patterns for path in workflow.folder.glob(pattern) if path.is_file()]
        assert paths
        for path in paths:
            os.utime(path)

    return edit


def config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Workflow], None]:
    """Edit the study's config."""
    return lambda workflow: workflow.change(change)


def experiment(name: str, **entries: Any) -> Callable[[Workflow], None]:
    """Replace keys of an experiment, or add an experiment."""
    return config(lambda study: study["experiments"].setdefault(name, {}).update(entries))


def forget(workflow: Workflow) -> None:
    """Lose Snakemake's records, as a folder that is copied without hidden files does."""
    shutil.rmtree(workflow.folder / ".snakemake")


def shuffle_dates(workflow: Workflow) -> None:
    """Give all results dates in no order, as `cp -r` does, some in the future, some before 1970."""
    dates = random.Random(0)
    for path in [*(workflow.folder / "results").rglob("*")]:
        date = dates.uniform(-1e9, 4e9)
        os.utime(path, (date, date), follow_symlinks=False)


LIBRARY = "src/selfloop"

NOTHING_CHANGED = {
    "touched script": touch("workflow/scripts/step.py"),
    "git checkout": touch(
        "Snakefile", "src/**/*", "workflow/**/*", "config/*", "profiles/**/*", "envs/*", "tests/studies/*"
    ),
    "comment": append(
        "\n# A remark.\n", "workflow/scripts/step.py", f"{LIBRARY}/training/loop.py", "workflow/rules/loop.smk"
    ),
    "docstring": replace(
        f"{LIBRARY}/training/loop.py", '"""The training loop of all torch domains', '"""The loop of all domains'
    ),
    "how often trainings are saved": config(lambda study: study.update(checkpointing={"every_seconds": 1})),
    "default written out, keys in another order": experiment(
        "tiny-llama", model={"initializer_range": 0.02, "architecture": "llama"}
    ),
    "number written otherwise": experiment("tiny", sampling=[{"temperature": 1}]),
    "dates of results": shuffle_dates,
}


def test_what_changes_no_result_reruns_nothing_with_and_without_records(copy: Workflow, tmp_path: Path) -> None:
    """All of it at once: where something reruns, the changes are tried one by one for a message that names them."""
    together = copy.copy(tmp_path / "together")
    for change in NOTHING_CHANGED.values():
        change(together)
    if found := together.would_run():
        reruns = {}
        for name, change in NOTHING_CHANGED.items():
            change(alone := copy.copy(tmp_path / name))
            reruns[name] = alone.would_run()
        assert found == set(), reruns
    forget(together)
    assert together.would_run() == set()


def test_the_library_is_the_clone_s_own_where_that_of_another_is_installed(copy: Workflow) -> None:
    """Snakemake imports what is installed before it reads the Snakefile."""
    copy.variables = {"PYTHONPATH": str(PLUGINS)}
    append("\nEDITED = True\n", f"{LIBRARY}/analysis/plot_learning_curves.py")(copy)
    assert copy.would_run() == {"plot_learning_curves", "write_report"}


def test_large_data_of_the_user_s_are_prepared_again_when_changed_and_not_when_touched(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "tiny", "tests/studies/tiny.yaml")
    data = workflow.folder / "mine.txt"
    data.write_text("Once upon a time there was a word.\n<|endoftext|>\n" * 40_000)
    os.utime(data, (4e9, 4e9))  # in the future: Snakemake would call it a clock skew, and delete what it has made
    experiment("tiny", data={"source": "files", "train": "mine.txt", "rows": 64, "test_rows": 16})(workflow)
    assert workflow.snakemake("--until", "prepare_data").jobs == ["prepare_data"]
    touch("mine.txt")(workflow)
    assert workflow.would_run("--until", "prepare_data") == set()
    append("Another one.\n", "mine.txt")(workflow)
    assert workflow.would_run("--until", "prepare_data") == {"prepare_data"}


CHANGED = {
    "training code": (
        append("\nEDITED = True\n", f"{LIBRARY}/training/loop.py"),
        (model("tiny-1 seed0", "t1-part0", "t1-part1") - {"concatenate tiny-1 seed0"})
        | (model("tiny-llama-1 seed0", "t1-part0") - {"concatenate tiny-llama-1 seed0"})
        | later()
        | profiles("tiny", "tiny-llama")
        | ALL_ANALYSIS,
    ),
    "sampler": (
        append("\nEDITED = True\n", f"{LIBRARY}/domains/text/sampling/sampler.py"),
        parts("tiny-1 seed0", "t1-part0", "t1-part1")
        | parts("tiny-llama-1 seed0", "t1-part0")
        | later()
        | profiles("tiny", "tiny-llama")
        | ALL_ANALYSIS,
    ),
    "one figure's code": (
        append("\nEDITED = True\n", f"{LIBRARY}/analysis/plot_learning_curves.py"),
        {"plot_learning_curves", "write_report"},
    ),
    "all figures' style": (append("\nEDITED = True\n", f"{LIBRARY}/analysis/style.py"), FIGURES),
    "a figure's title": (
        config(lambda study: study.update(figures={"titles": {"text-headline": "Tiny"}})),
        {"plot_headline", "write_report"},
    ),
    "temperature": (
        experiment("tiny", sampling=[{"temperature": 0.5}]),
        parts("tiny-1 seed0", "t0.5-part0", "t0.5-part1")
        | parts("tiny-llama-1 seed0", "t0.5-part0")
        | later("t0.5")
        | profiles("tiny", "tiny-llama")
        | ALL_ANALYSIS,
    ),
    "another temperature": (
        experiment("tiny-llama", sampling=[{"temperature": 1.0}, {"temperature": 0.5}]),
        parts("tiny-llama-1 seed0", "t0.5-part0") | profiles("tiny-llama") | ALL_ANALYSIS,
    ),
    "one model's layers": (
        experiment("tiny-llama", model={"architecture": "llama", "layers": 2}),
        model("tiny-llama-1 seed0", "t1-part0") | profiles("tiny-llama") | ALL_ANALYSIS,
    ),
    "a model": (
        experiment("tiny-wide", like="tiny-llama", model={"architecture": "gpt2", "hidden_size": 24}),
        model("tiny-wide-1 seed0", "t1-part0") | profiles("tiny-wide") | ALL_ANALYSIS,
    ),
    "a seed": (
        experiment("tiny", seeds=[0, 1]),
        model("tiny-1 seed1", "t1-part0", "t1-part1")
        | model("tiny-llama-1 seed1", "t1-part0")
        | later(seed=1)
        | profiles("tiny", "tiny-llama", seed=1)
        | ANALYSIS,
    ),
    "a regime": (
        experiment(
            "tiny",
            regimes=["replace", "accumulate", "replace-multiple", "real-multiple"],
            iterations={"replace": 3, "accumulate": 3, "replace-multiple": 2, "real-multiple": 3},
        ),
        model("tiny-real-multiple-2 t1 seed0", "t1-part0")
        | model("tiny-real-multiple-3 t1 seed0", "t1-part0")
        | profiles("tiny")
        | ALL_ANALYSIS,
    ),
    "a regime of the same parts as another": (
        config(
            lambda study: (
                study.update(regimes={"newest": {"parts": [{"from": "previous"}]}}),
                study["experiments"]["tiny-llama"].update(regimes=["replace", "newest"]),
            )
        ),
        ANALYSIS,
    ),
    "an iteration": (
        experiment("tiny", iterations={"replace": 4, "accumulate": 3, "replace-multiple": 2}),
        model("tiny-replace-4 t1 seed0", "t1-part0") | profiles("tiny") | ALL_ANALYSIS,
    ),
    # replace-multiple trains its iteration 3 on three parts of model 2, of which there is one.
    "an iteration that takes more parts": (
        experiment("tiny", iterations={"replace": 3, "accumulate": 3, "replace-multiple": 3}),
        parts("tiny-replace-multiple-2 t1 seed0", "t1-part1", "t1-part2")
        | model("tiny-replace-multiple-3 t1 seed0", "t1-part0")
        | profiles("tiny")
        | ALL_ANALYSIS,
    ),
    "fewer iterations": (
        experiment("tiny", iterations={"replace": 2, "accumulate": 3, "replace-multiple": 2}),
        profiles("tiny") | ALL_ANALYSIS,
    ),
}


@pytest.mark.parametrize(("change", "expected"), CHANGED.values(), ids=CHANGED)
def test_a_change_reruns_what_depends_on_it(
    copy: Workflow, change: Callable[[Workflow], None], expected: set[str]
) -> None:
    change(copy)
    assert copy.would_run() == expected


@pytest.mark.parametrize(
    "name", ["temperature", "one model's layers", "a seed", "an iteration", "fewer iterations", "a figure's title"]
)
def test_a_changed_setting_reruns_the_same_without_records_of_what_results_were_made_from(
    copy: Workflow, name: str
) -> None:
    change, expected = CHANGED[name]
    forget(copy)
    change(copy)
    assert copy.would_run() == expected


def test_what_is_shown_is_of_the_study_asked_for_with_and_without_records(tmp_path: Path) -> None:
    shown = ("figures", "tables", "study", "metrics.parquet", "learning_curves.parquet", "chains.csv")

    def results(workflow: Workflow) -> dict[str, str]:
        workflow.snakemake()
        return {name: digest for name, digest in workflow.results().items() if name.startswith(shown)}

    def other(study: dict[str, Any]) -> None:
        study["experiments"]["linear"].update(iterations=2, seeds=[1], training={"ridge": 0.1})

    first = Workflow.fresh(tmp_path / "first", "tests/studies/linear.yaml")
    first.change(
        lambda study: study["experiments"]["linear"].update(simulation=None, regimes=["replace"], iterations=1)
    )
    before = results(first)
    known, unknown = first.copy(tmp_path / "known"), first.copy(tmp_path / "unknown")
    known.change(other)
    after = results(known)
    forget(unknown)
    unknown.change(other)
    assert {name for name, digest in results(unknown).items() if digest != after.get(name)} <= {
        name
        for name in before
        if name.startswith("study/")  # its marks go with the next study's
    }
    forget(unknown)
    shutil.copy(first.folder / first.config, unknown.folder / unknown.config)
    assert results(unknown) == before


def test_a_deleted_checkpoint_is_made_again_where_it_is_needed(copy: Workflow) -> None:
    checkpoint = f"{copy.model_folder('tiny', 'accumulate', 2)}/checkpoint"
    before = copy.results(checkpoint.removeprefix("results/"))
    assert before
    for path in sorted((copy.folder / checkpoint).iterdir()):
        path.unlink()
    (copy.folder / checkpoint).rmdir()

    # All that was made from it is there: old checkpoints can be deleted to make room.
    assert copy.would_run() == set()

    # Extending a chain that never sampled from it does not need it either.
    copy.change(lambda study: study["experiments"]["tiny"]["iterations"].update({"replace": 4}))
    assert copy.would_run() == model("tiny-replace-4 t1 seed0", "t1-part0") | profiles("tiny") | ALL_ANALYSIS
    copy.change(lambda study: study["experiments"]["tiny"]["iterations"].update({"replace": 3}))

    # Asked for, it is trained again, from a training set that is still there, to the same bytes.
    assert copy.snakemake(checkpoint).jobs == ["train tiny-accumulate-2 t1 seed0"]
    assert copy.results(checkpoint.removeprefix("results/")) == before


def test_a_deleted_measurement_brings_back_the_checkpoint_that_it_needs(copy: Workflow) -> None:
    folder = copy.folder / copy.model_folder("tiny", "accumulate", 2)
    (folder / "checkpoint").rename(copy.folder / "gone")
    (folder / "measurements.json").unlink()
    (copy.folder / "results/metrics.parquet").unlink()
    # The training, and what is downstream of it: its own part, and the model that learns from that.
    assert copy.would_run() == (
        (model("tiny-accumulate-2 t1 seed0", "t1-part0") - {"concatenate tiny-accumulate-2 t1 seed0"})
        | model("tiny-accumulate-3 t1 seed0", "t1-part0")
        | profiles("tiny")
        | ALL_ANALYSIS
    )


def test_a_deleted_part_that_a_longer_chain_needs_is_made_again_with_what_learned_from_it(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "clone", "tests/studies/linear.yaml")
    workflow.change(lambda study: study["experiments"]["linear"].update(regimes=["accumulate"], simulation=None))
    workflow.snakemake()
    before = workflow.results("data", "models")
    sampled = workflow.folder / workflow.model_folder("linear", "accumulate", 1) / "parts"
    (part,) = (path for path in sampled.glob("[!.]*") if path.is_dir())
    shutil.rmtree(part)
    assert workflow.would_run() == set(), "nothing is to be made of it"

    workflow.change(lambda study: study["experiments"]["linear"].update(iterations=4))
    done = workflow.snakemake()
    rerun = [job for job in done.jobs if job.startswith(("train ", "generate linear-1"))]
    learned = [f"train linear-accumulate-{n} gaussian seed0" for n in (2, 3, 4)]
    assert rerun == ["generate linear-1 seed0 gaussian-part0", *learned]
    after = workflow.results("data", "models")
    assert {name: after[name] for name in before} == before
    assert workflow.would_run() == set()


def test_extending_a_finished_study_trains_one_more_model_per_chain(copy: Workflow) -> None:
    old = {path: path.stat().st_mtime_ns for path in _artifacts(copy)}
    before = copy.results("data", "models")
    copy.change(
        lambda study: study["experiments"]["tiny"].update(
            iterations={"replace": 4, "accumulate": 4, "replace-multiple": 3}
        )
    )
    copy.change(lambda study: study["experiments"]["tiny-llama"].update(iterations=2))

    done = copy.snakemake()

    assert done.jobs == sorted(
        model("tiny-replace-4 t1 seed0", "t1-part0")
        | model("tiny-accumulate-4 t1 seed0", "t1-part0")
        | parts("tiny-replace-multiple-2 t1 seed0", "t1-part1", "t1-part2")
        | model("tiny-replace-multiple-3 t1 seed0", "t1-part0")
        | model("tiny-llama-replace-2 t1 seed0", "t1-part0")
        | profiles("tiny", "tiny-llama")
        | ALL_ANALYSIS
    )
    assert {path: path.stat().st_mtime_ns for path in old} == old
    after = copy.results("data", "models")
    assert {name: after[name] for name in before} == before
    assert copy.would_run() == set()


def _artifacts(workflow: Workflow) -> list[Path]:
    results = workflow.folder / "results"
    return [path for top in ("data", "models") for path in (results / top).rglob("*") if path.is_file()]


def test_a_job_on_a_cluster_records_what_it_was_made_from(tmp_path: Path) -> None:
    """What a killed Snakemake's jobs finish is made anew after a change, like everything else.

    A node runs its job as is done here, with the main process elsewhere; here there never is one.
    """
    workflow = Workflow.fresh(tmp_path / "tiny", "tests/studies/tiny.yaml")
    workflow.snakemake("--mode", "remote", "--nolock", "--no-hooks", "--until", "train_tokenizer", cores=1)
    made = {"prepare_data", "train_tokenizer"}
    assert not made & workflow.would_run()
    replace(
        "src/selfloop/domains/text/steps/prepare_data.py", 'Path(job.output["test"])', 'Path(str(job.output["test"]))'
    )(workflow)
    assert made <= workflow.would_run()
