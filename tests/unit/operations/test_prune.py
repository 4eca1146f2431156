"""What may be deleted of a study, and what has to stay."""

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.checksums import record_file
from selfloop.data.atomic import atomic_file
from selfloop.errors import UserError
from selfloop.jobs.record import Record
from selfloop.operations import prune
from selfloop.operations.prune import prunable
from selfloop.operations.status import steps
from selfloop.planning.rules import Plan, plan_study
from selfloop.session import folder_lock

CONFIG: dict[str, Any] = yaml.safe_load("""
experiments:
  line:
    domain: linear
    data: {dimension: 2, rows: 8, noise_variance: 1.0}
    regimes: [replace]
    iterations: 3
    seeds: [0]
""")


TEXT: dict[str, Any] = {
    "experiments": {
        "plays": {
            "domain": "text",
            "data": {"source": "packaged", "name": "shakespeare"},
            "model": {"architecture": "gpt2"},
            "regimes": ["replace"],
            "iterations": 3,
            "seeds": [0],
        }
    }
}


def made(path: Path) -> Path:
    """A file there, and the folders around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(10))
    return path


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A study, and the current folder with all its outputs."""
    monkeypatch.chdir(tmp_path)
    plan = plan_study(deepcopy(CONFIG))
    finish(plan)
    return plan


def finish(plan: Plan) -> None:
    """Make all outputs of a study's loop."""
    for chain in plan.chains:
        for model, jobs in zip(chain.models, steps(chain), strict=True):
            made(Path("results/models", model.name, "checkpoint/model.safetensors"))
            for job in jobs:
                made(job.output)


def pruned(plan: Plan) -> set[str]:
    """What would be deleted."""
    return {str(item.path) for item in prunable(plan)}


def test_the_state_of_a_training_without_a_checkpoint_stays(plan: Plan) -> None:
    name = plan.chains[0].models[2].name
    state = made(Path("results/state", name, "state.safetensors")).parent
    assert str(state) in pruned(plan)
    Path("results/models", name, "checkpoint/model.safetensors").unlink()
    Path("results/models", name, "checkpoint").rmdir()
    assert str(state) not in pruned(plan)


def test_the_state_of_a_training_stays_until_its_model_is_evaluated(plan: Plan) -> None:
    """Snakemake may not have recorded the training: a kill right after it has it done again."""
    name = plan.chains[0].models[2].name
    state = made(Path("results/state", name, "state.safetensors")).parent
    curve, measured = (Path("results/models", name, file) for file in ("learning_curve.parquet", "measurements.json"))
    assert str(state) in pruned(plan)
    os.utime(curve, ns=(0, measured.stat().st_mtime_ns + 1))  # measured was the model of an earlier training
    assert str(state) not in pruned(plan)
    measured.unlink()
    assert str(state) not in pruned(plan)


@pytest.fixture
def runs() -> Iterator[Callable[[str], None]]:
    """Lets the step with a log run, and ends it with the test."""
    with ExitStack() as ended:

        def begin(log: str) -> None:
            ended.enter_context(Record(Path("results/logs", log))).begin("some", logging.getLogger())

        yield begin


def test_of_a_model_with_a_running_step_nothing_goes(plan: Plan, runs: Callable[[str], None]) -> None:
    """As on a cluster whose Snakemake was killed."""
    _, busy, idle = (model.name for model in plan.chains[0].models)
    scratch = {name: made(Path("results/models", name, "parts/.x.partial/shard")).parent for name in (busy, idle)}
    assert {str(path) for path in scratch.values()} <= pruned(plan)
    runs(f"generate/{busy}/x.log")
    assert pruned(plan) == {str(scratch[idle])}


def test_while_a_step_of_another_study_runs_nothing_of_other_studies_goes(
    plan: Plan, runs: Callable[[str], None]
) -> None:
    parent = made(Path("results/models/other/seed0/iteration1-0a/parts/x/shard")).parents[2]
    assert str(parent) in pruned(plan)
    runs("train/other/seed0/iteration2-0b.log")
    assert str(parent) not in pruned(plan)
    assert any(path.endswith("checkpoint") for path in pruned(plan))


def test_while_data_are_prepared_no_data_and_no_scratch_files_of_data_go(
    plan: Plan, runs: Callable[[str], None]
) -> None:
    other = made(Path("results/data/other/documents/.train.partial/shard")).parents[2]
    scratch = made(Path("results/.metrics.parquet.partial"))
    assert {str(other), str(scratch)} <= pruned(plan)
    runs("prepare_data/other.log")
    assert not {str(other), str(scratch)} & pruned(plan)


def test_no_snakemake_can_begin_while_prune_asks_and_deletes(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def agreed() -> bool:
        held.append(folder_lock.is_held())
        return True

    monkeypatch.setattr(prune, "_agreed", agreed)
    real_delete = prune.delete
    monkeypatch.setattr(prune, "delete", lambda item: (held.append(folder_lock.is_held()), real_delete(item)))
    assert prune.prune(plan, ask=True)
    assert held == [True, True]  # of the checkpoint of iteration 2
    assert not folder_lock.is_held()


def test_a_job_that_begins_while_prune_asks_keeps_what_it_needs(
    plan: Plan,
    runs: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = plan.chains[0].models[1].name
    checkpoint = Path("results/models", name, "checkpoint")

    def agreed() -> bool:
        runs(f"evaluate_model/{name}.log")
        return True

    monkeypatch.setattr(prune, "_agreed", agreed)
    assert prune.prune(plan, ask=True)
    assert checkpoint.exists()
    capsys.readouterr()
    assert prune.prune(plan, ask=False)
    said = f"results/logs/evaluate_model/{name}.log: this step still runs. What it may need stays.\n"
    assert capsys.readouterr().out == f"{said}There is nothing to delete.\n"


@pytest.mark.parametrize("place", ["here", "elsewhere"])
def test_locks_of_a_killed_snakemake_are_cleared_and_those_of_another_machine_respected(plan: Plan, place: str) -> None:
    host = socket.gethostname() if place == "here" else place
    lock = made(Path(folder_lock.LOCKS, "0.output.lock"))
    Path(folder_lock.FILE).write_text(json.dumps({"process": 1, "host": host, "since": "2024-01-01 00:00:00"}))
    if place == "elsewhere":
        with pytest.raises(UserError, match="nothing was deleted: a Snakemake has left this folder locked"):
            prune.prune(plan, ask=False)
        assert lock.exists()
        assert json.loads(Path(folder_lock.FILE).read_text())["host"] == host
    else:
        assert prune.prune(plan, ask=False)
        assert not lock.exists()


def test_checkpoints_stay_from_which_one_more_iteration_samples_further_parts(plan: Plan) -> None:
    config = deepcopy(CONFIG)
    config["regimes"] = {"growing": {"parts": [{"from": "real"}, {"from": "all", "amount": "iteration"}]}}
    config["experiments"]["line"]["regimes"] = ["replace", "growing"]
    growing = plan_study(config)
    finish(growing)
    replace, _ = growing.chains
    # The profile of the study without `growing` goes, too.
    assert {path for path in pruned(growing) if path.endswith("checkpoint")} == {
        f"results/models/{replace.models[1].name}/checkpoint"
    }
    config["experiments"]["line"]["iterations"] = 4
    finish(plan_study(config))  # and shorter again: the further parts are strangers
    assert {path for path in pruned(growing) if path.endswith("checkpoint")} == {
        f"results/models/{replace.models[1].name}/checkpoint"
    }


def test_checkpoints_stay_until_the_profile_of_their_chain_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = plan_study(TEXT)
    finish(text)
    (chain,) = text.chains
    assert pruned(text) == {f"results/models/{chain.models[1].name}/checkpoint"}
    Path(text.profile_files[0]).unlink()
    assert pruned(text) == set()


def test_profiles_of_other_studies_go(plan: Plan) -> None:
    strange = made(Path("results/profiles/gpt2-h16-l1-0123456789abcdef/seed0-0123456789abcdef.parquet"))
    assert pruned(plan) >= {str(strange)}


def delete_all(plan: Plan) -> None:
    for item in prunable(plan):
        prune.delete(item)


def test_a_kill_while_a_folder_is_deleted_leaves_none_that_looks_whole(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Path("results/models", plan.chains[0].models[1].name, "checkpoint")
    made(checkpoint / "config.json")
    made(record_file(checkpoint))

    def killed(path: Path) -> None:
        (path / "model.safetensors").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prune.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            delete_all(plan)
    assert not checkpoint.exists() and not record_file(checkpoint).exists()
    left = checkpoint.with_name(".checkpoint.deleting")
    assert pruned(plan) == {str(left)}
    delete_all(plan)
    assert not left.exists() and pruned(plan) == set()


def test_a_folder_that_was_made_again_is_deleted_beside_what_a_kill_has_left_of_it(plan: Plan) -> None:
    folder = Path("results/models", plan.chains[0].models[1].name)
    made(folder / ".checkpoint.deleting/model.safetensors")
    delete_all(plan)
    assert {path.name for path in folder.iterdir()}.isdisjoint({"checkpoint", ".checkpoint.deleting"})


def test_of_a_link_the_link_alone_is_deleted(plan: Plan, tmp_path: Path) -> None:
    elsewhere = made(tmp_path / "disk/strange-1/checkpoint/model.safetensors")
    seeds = Path("results/models/strange/seed0")
    seeds.mkdir(parents=True)
    (seeds / "iteration1-0").symlink_to(elsewhere.parents[1])
    assert {item.path: item.size for item in prunable(plan)}[seeds / "iteration1-0"] == 0
    delete_all(plan)
    assert not os.path.lexists(seeds) and elsewhere.exists()


def test_linked_folders_of_results_are_pruned_like_others_and_stay_linked(plan: Plan, tmp_path: Path) -> None:
    models = Path("results/models")
    models.rename(tmp_path / "disk")
    models.symlink_to(tmp_path / "disk")
    left = made(models / plan.chains[0].models[0].name / "parts/.t1.partial/shard")
    assert str(left.parent) in pruned(plan)
    delete_all(plan)
    assert not left.parent.exists() and models.is_symlink()
    config = deepcopy(CONFIG)
    config["experiments"]["line"]["seeds"] = [1]
    delete_all(plan_study(config))
    assert models.is_symlink() and not any(models.iterdir())


@pytest.mark.parametrize("ask", [True, False])
def test_a_config_of_which_nothing_is_there_deletes_nothing(plan: Plan, ask: bool) -> None:
    config = deepcopy(CONFIG)
    config["experiments"]["line"]["seeds"] = [7]
    before = sorted(Path("results").rglob("[!.]*"))
    with pytest.raises(UserError, match=r"nothing was deleted: results holds no model of this study, and 3 of others"):
        prune.prune(plan_study(config), ask=ask)
    assert sorted(Path("results").rglob("[!.]*")) == before


def test_an_empty_folder_has_nothing_to_delete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert prune.prune(plan_study(deepcopy(CONFIG)), ask=False)


def test_what_cannot_be_deleted_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match=r"checkpoint cannot be deleted: Permission denied"):
        prune.prune(plan, ask=False)


def test_checksums_go_with_what_they_are_of(plan: Plan) -> None:
    strange = Path("results/simulations/other.parquet")
    with atomic_file(strange) as scratch:
        scratch.write_bytes(bytes(10))
    assert record_file(strange).exists() and str(strange) in pruned(plan)
    for item in prunable(plan):
        prune.delete(item)
    assert not Path("results/simulations").exists()


def test_checksums_of_what_is_gone_go_and_others_stay(plan: Plan) -> None:
    whole, long = Path("results/data/a.txt"), Path("results/data", "n" * 250)
    for path in (whole, long):
        with atomic_file(path) as scratch:
            scratch.write_text("kept")
    orphan = record_file(made(Path("results/data/gone.txt")))
    Path("results/data/gone.txt").rename(orphan)
    found = {path for path in pruned(plan) if path.endswith(".checksums")}
    assert found == {str(orphan)}


def test_the_slices_of_a_part_stay_until_it_is_evaluated(plan: Plan) -> None:
    """Snakemake may not have recorded the sampling: a kill right after it has it done again."""
    model, part = next(iter(plan.parts))
    kept = made(Path("results/state/parts", model, part, "slice-000000000.safetensors")).parent
    stranger = made(Path("results/state/parts", model, "other-0123456789abcdef", "slice-000000000.safetensors")).parent
    assert {str(kept), str(stranger)} <= pruned(plan)
    Path(plan.parts[model, part].folder + ".measurements.json").unlink()
    assert str(kept) not in pruned(plan)
    assert str(stranger) in pruned(plan)


def test_a_checkpoint_that_a_training_still_starts_from_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text: dict[str, Any] = yaml.safe_load("""
    domain: text
    data: {source: packaged, name: shakespeare, rows: 100}
    model: {architecture: gpt2, hidden_size: 8, layers: 1, heads: 2, context: 8, vocabulary: 300}
    training: {start: previous}
    regimes: [real]
    iterations: 4
    seeds: [0]
    """)
    plan = plan_study({"experiments": {"a": text}})
    finish(plan)
    names = [model.name for model in plan.chains[0].models]
    checkpoints = [f"results/models/{name}/checkpoint" for name in names]
    assert {checkpoints[1], checkpoints[2]} <= pruned(plan)
    Path("results/models", names[2], "learning_curve.parquet").unlink()
    assert checkpoints[1] not in pruned(plan)
