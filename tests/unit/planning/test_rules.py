"""What Snakemake is told that results depend on, besides names."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfloop.data.collect import measurement_files
from selfloop.jobs import steps
from selfloop.jobs.steps import has_step
from selfloop.operations import status
from selfloop.operations.cost import experiment_artifacts
from selfloop.planning import rules
from selfloop.planning.rules import Plan, plan_study

from .test_study import BASE

STEPS = ("prepare_data", "train_tokenizer", "tokenize", "concatenate", "train", "generate", "evaluate_part")

OPTIONAL = {"measure_baseline", "evaluate_part"}


class Named(SimpleNamespace):
    """A job's wildcards."""

    def keys(self) -> list[str]:
        return list(vars(self))


def codes(plan: Plan) -> dict[str, str]:
    """The digest of the code of jobs, by name: of iteration 1, and of iteration 2, which learns from samples."""
    first, second = (plan.chains[0].models[n] for n in (0, 1))
    own = {"model": first.name, "part": plan.chains[0].parts[0][0].name, "data": first.experiment.data_name}
    wildcards: Any = Named(**own, tokenizer=first.experiment.tokenizer_name)
    found = {step: getattr(plan, f"{step}_settings")(wildcards)["code"] for step in (*STEPS, "evaluate_model")}
    wildcards.model = second.name
    found |= {
        f"{step}, later": getattr(plan, f"{step}_settings")(wildcards)["code"] for step in ("concatenate", "train")
    }
    shown = {entry.rule: entry.code for entry in plan.shows.entries}
    return found | {rule: shown[rule] for rule in ("plot_headline", "write_samples")}


LOOP = {"concatenate, later", "train, later"}
SHOWN = {"plot_headline", "write_samples"}
OF_MODEL = {"train", "generate", "evaluate_part", "evaluate_model"}
DEPENDING = {
    "tokenize": {"tokenize", "concatenate", *OF_MODEL, *LOOP, *SHOWN},
    "train": {*OF_MODEL, *LOOP, *SHOWN},
    "generate": {"generate", "evaluate_part", *LOOP, *SHOWN},
    "evaluate_part": {"evaluate_part", "plot_headline"},
    "plot_headline": {"plot_headline"},
}


@pytest.mark.parametrize("changed", DEPENDING)
def test_the_code_of_a_step_is_in_the_params_of_all_jobs_downstream(
    changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed after it has renewed a step goes on with all that depends on it, though no date counts."""
    before = codes(plan_study(BASE))
    real = rules.step_code
    monkeypatch.setattr(rules, "step_code", lambda step, of: "new" if step == changed else real(step, of))
    rules.steps_code.cache_clear()
    try:
        after = codes(plan_study(BASE))
    finally:
        rules.steps_code.cache_clear()
    assert {name for name in before if before[name] != after[name]} == DEPENDING[changed]


def test_marks_say_what_is_shown() -> None:
    def marks(**figures: Any) -> dict[str, str]:
        shows = plan_study(BASE | figures).shows
        return {mark.rpartition("-")[0]: mark for mark in [*shows.marks, shows.page_mark]}

    def changed(**config: Any) -> set[str]:
        after = marks(**config)
        return {name.removeprefix("results/study/") for name in before if before[name] != after[name]}

    before = marks()
    assert changed() == set()
    assert changed(figures={"titles": {"text-headline": "Mine"}}) == {"plot_headline-text", "write_report"}
    more = {"experiments": {"a": BASE["experiments"]["a"] | {"iterations": 4}}}
    assert len(changed(**more)) == len(before)


@pytest.mark.parametrize("entry", ["", ".", "{here}", "{here}/"])
def test_processes_of_jobs_import_the_library_and_nothing_of_the_working_folder(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "probe.py").write_text("import random, selfloop")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([entry.format(here=tmp_path), str(other), str(rules.LIBRARY)]))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    rules.expose_library("/clone")
    (tmp_path / "random.py").write_text("raise RuntimeError")
    for command in (["-c", "import random, selfloop"], ["-m", "probe"]):
        subprocess.run([sys.executable, *command], check=True, env=dict(os.environ))
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(rules.LIBRARY), str(other)]


def test_a_clone_whose_path_has_braces_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"selfloop: /a\{b\}: Snakemake takes braces in this path for wildcards"):
        rules.expose_library("/a{b}")


def test_a_domain_may_leave_out_two_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the modules measure_baseline and evaluate_part, no job is planned, counted, awaited or collected."""

    def asked() -> set[str]:
        plan = plan_study(BASE)
        (experiment,) = plan.experiments
        collected = {file for row in plan.rows() for file in (*measurement_files(row), row["baseline"]) if file}
        assert collected == set(plan.measurement_files)
        jobs = {rule for rule, _ in experiment_artifacts(experiment, None)}
        assert jobs == {step.rule for chain in plan.chains for steps in status.steps(chain) for step in steps}
        assert {rule for rule in OPTIONAL if f"text {rule}" in plan.step_codes()} == jobs & {"evaluate_part"}
        assert len(plan.measurement_files) == len(plan.models) + ("measure_baseline" in jobs) + (
            len(plan.parts) if "evaluate_part" in jobs else 0
        )
        return jobs

    has_step.cache_clear()
    every = asked()
    assert every >= OPTIONAL
    with monkeypatch.context() as patch:
        patch.setattr(steps, "DOMAINS", Path("nowhere"))
        has_step.cache_clear()
        rest = asked()
        mark = plan_study(BASE).shows.tables_mark
    has_step.cache_clear()
    assert rest == every - OPTIONAL
    assert mark != plan_study(BASE).shows.tables_mark


def test_micro_batches_are_requested_of_the_machine_and_change_no_name_and_no_param() -> None:
    plain = plan_study(BASE)
    entry = BASE["experiments"]["a"]
    plan = plan_study({"experiments": {"a": entry | {"training": {**entry["training"], "micro_batch": 2}}}})
    assert plan.models.keys() == plain.models.keys()
    wildcards: Any = Named(model=next(iter(plan.models)))
    assert plan.train_settings(wildcards) == plain.train_settings(wildcards)
    assert "micro_batch" not in plain.requests("train")
    assert plan.requests("train")["micro_batch"](wildcards) == 2


def test_a_copied_data_file_is_warned_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shard.txt", "shard (1).txt", "shard (2).txt"):
        Path(name).write_text("one\n---\ntwo\n---\n")
    data = {"source": "files", "train": "*.txt", "separator": "---"}
    copied = {**BASE["experiments"]["a"], "data": data, "training": {"batch_size": 1}}
    config: Any = {"experiments": {"a": copied, "b": {"like": "a", "seeds": [1]}}}
    assert plan_study(config).warnings() == [
        "experiments.a.data: 'shard (2).txt' holds the same as 'shard (1).txt' (1 more such files), so that its rows "
        "count twice; leave one out if it is a copy."
    ]
