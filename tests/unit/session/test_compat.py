"""What a plan spares Snakemake, against what Snakemake works out itself."""

import asyncio
import inspect
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import InputFiles
from snakemake.output_index import OutputIndex

from selfloop.session import compat
from selfloop.session.compat import (
    RerunTrigger,
    common,
    dag,
    ignore_dates,
    io,
    local,
    once_per_path,
    once_per_rule,
    once_per_target,
    plan_faster,
    record_without_deleted,
    resources,
    schedule_once,
    script,
)


class Sizes:
    """Holds methods as a plan does."""

    def of(self, wildcards: Any, attempt: int = 1) -> int:
        """What a rule asks for."""
        return attempt

    def all(self) -> int:
        """Nothing that a rule asks for with a job's wildcards."""
        return 1


def test_signatures_are_those_that_snakemake_finds() -> None:
    found = {method: inspect.signature(method).parameters for method in (Sizes().of, Sizes().all)}
    plan_faster(Sizes)
    plan_faster(Sizes)  # as often as a Snakefile is parsed in one process
    for method, parameters in found.items():
        assert common.get_function_params(method) == dict(parameters)
    assert common.get_input_function_aux_params(Sizes().of, {"attempt": 2, "input": 0}) == {"attempt": 2}


def test_methods_that_take_wildcards_are_parsed_no_more() -> None:
    plan_faster(Sizes)
    evaluate = resources.Resource.evaluate
    told = [hasattr(method, common.FUNC_OVERWRITE_PARAMS_ATTR) for method in (Sizes.of, Sizes.all, evaluate)]
    assert told == [True, False, True]
    assert list(common.get_function_params(evaluate)) == list(inspect.signature(evaluate).parameters)[1:]


def test_no_date_of_a_file_reruns_or_refuses_anything(tmp_path: Path) -> None:
    """Whatever --rerun-triggers says: the pinned Snakemake compares dates in any case."""
    ignore_dates()
    (tmp_path / "input").touch()
    assert not asyncio.run(io._IOFile(str(tmp_path / "input"), None).is_newer(0.0))
    assert asyncio.run(dag.DAG.check_output_mtime(None, None, [])) is None
    asked = SimpleNamespace(dag_settings=SimpleNamespace(rerun_triggers=RerunTrigger.all()))
    triggers = compat.snakemake.workflow.Workflow.rerun_triggers.fget
    assert triggers(asked) == {RerunTrigger.PARAMS, RerunTrigger.INPUT}
    asked.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
    assert triggers(asked) == set()


def test_the_pinned_snakemake_asks_what_is_answered_here() -> None:
    """A release that asks something else would bring dates back."""
    source = inspect.getsource(dag.DAG)
    assert "await f.is_newer(output_mintime_)" in source
    assert source.count("self.check_output_mtime(") == 1


def test_the_script_of_a_rule_is_looked_for_once() -> None:
    looked: list[str] = []

    def look(_: Any, job: Any) -> None:
        looked.append(job.rule)
        if job.rule == "broken":
            raise OSError("not there")

    check = once_per_rule(look)
    for rule in ("train", "generate", "train"):
        for kind in ("notebook", "script"):
            check(SimpleNamespace(script_type=kind), SimpleNamespace(rule=rule))
    assert looked == ["train", "train", "generate", "generate"]
    for _ in range(2):
        with pytest.raises(OSError, match="not there"):
            check(SimpleNamespace(script_type="script"), SimpleNamespace(rule="broken"))


def test_what_a_path_looks_like_is_warned_of_once() -> None:
    looked: list[str] = []
    check = once_per_path(lambda file: looked.append(file._file))
    for path in ("results//a", "results/b", "results//a"):
        check(SimpleNamespace(_file=path))
    assert looked == ["results//a", "results/b"]


def test_a_python_in_a_path_with_spaces_runs_steps_and_submitted_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        compat.quote_python()
    monkeypatch.setattr(compat.sys, "executable", "/my clone/bin/python")
    assert local.Executor.get_python_executable(None) == "'/my clone/bin/python'"
    ran: list[str] = []
    monkeypatch.setattr(script, "shell", lambda command, py_exec, **_: ran.append(f"{command}: {py_exec}"))
    names = (
        "bench_record conda_env conda_base_path container_img shadow_dir env_modules singularity_args resources threads"
    )
    step = SimpleNamespace(**dict.fromkeys([*names.split(), "runtime_paths"]))
    script.ScriptBase._execute_cmd(step, "{py_exec} {fname:q}", py_exec="/my clone/bin/python", fname="step.py")
    assert ran == ["{py_exec} {fname:q}: '/my clone/bin/python'"]


def test_the_rules_that_may_make_a_file_are_looked_for_once_in_each_index() -> None:
    looked: list[str] = []

    def match(_: Any, target: str) -> set[str]:
        looked.append(target)
        return {f"makes {target}"}

    find, one, other = once_per_target(match), SimpleNamespace(), SimpleNamespace()
    assert [find(one, target) for target in ("a", "b", "a")] == [{"makes a"}, {"makes b"}, {"makes a"}]
    assert find(other, "a") == {"makes a"}
    assert looked == ["a", "b", "a"]


def test_the_pinned_snakemake_has_what_is_patched() -> None:
    plan_faster(Sizes)
    plan_faster(Sizes)
    # Applied once, however often it is asked for: what it wraps is Snakemake's own.
    for check, wrapped in (
        (dag.ScriptProcessor.process_job, "process_job"),
        (io._IOFile.check, "check"),
        (OutputIndex.match_producers, "match"),
    ):
        assert check.__module__ == "selfloop.session.compat"
        assert inspect.getclosurevars(check).nonlocals[wrapped].__module__.startswith("snakemake.")


def test_an_error_with_advice_is_said_once_and_any_other_shown_as_snakemake_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[object] = []
    monkeypatch.setattr("snakemake.exceptions.print_exception", lambda error, *_: shown.append(error))
    for module in (compat.snakemake.api, compat.local, compat.job_scheduler):
        monkeypatch.setattr(module, "print_exception", None)
    compat.say_of_errors(lambda error: "free some space" if isinstance(error, OSError) else None)
    bug = ValueError("a bug")
    for module in (compat.snakemake.api, compat.local, compat.job_scheduler):
        module.print_exception(OSError("full"), {})
        module.print_exception(bug, {})
    assert shown == [bug] * 3
    assert capsys.readouterr().err == "selfloop: free some space\n"


def test_rounds_of_the_scheduler_do_not_multiply() -> None:
    """However many rounds ask for another one, one timer runs; and the round that it begins can set the next."""
    schedule_once()
    rounds = threading.Semaphore(0)
    scheduler = SimpleNamespace(_open_jobs=rounds)
    reevaluate = compat.job_scheduler.JobScheduler._schedule_reevalutation
    for _ in range(3):
        before = threading.active_count()
        for _ in range(20):
            reevaluate(scheduler, 0.2)
        assert threading.active_count() <= before + 1
        assert rounds.acquire(timeout=10)
    assert not rounds.acquire(timeout=0.5)


def test_deleted_inputs_are_not_part_of_what_a_job_is_remembered_to_be_made_from() -> None:
    record_without_deleted()
    record_without_deleted()  # as often as a Snakefile is parsed in one process
    inputs = InputFiles()
    for name in ("parts", "deleted"):
        inputs.append(io.IOFile(f"{name}.parquet"))
        inputs._set_name(name, len(inputs) - 1, len(inputs))
    remembered = compat.PersistenceBase._input
    assert remembered(type("Records", (), {})(), type("Reading", (), {"input": inputs})()) == ["parts.parquet"]
