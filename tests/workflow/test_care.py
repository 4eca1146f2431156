"""What stands beside a study: its status, what can be pruned of it, where it comes from, and what a failure says."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfloop.jobs.spec import JobSpec

from .conftest import Workflow, environment, messages, wait_until


def verify(workflow: Workflow) -> "subprocess.CompletedProcess[str]":
    """Run `selfloop verify`."""
    arguments = [sys.executable, "-P", "-m", "selfloop", "verify"]
    return subprocess.run(
        arguments, cwd=workflow.folder, env=environment(), capture_output=True, encoding="utf-8", check=False
    )


def command(workflow: Workflow, name: str, *arguments: str, answer: str = "") -> "subprocess.CompletedProcess[str]":
    """Run one of the commands beside Snakemake."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "selfloop", name, "--configfile", workflow.config, *arguments],
        cwd=workflow.folder,
        env=environment(),
        input=answer,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def longer(study: dict[str, Any]) -> None:
    """One iteration more for every regime of the experiment tiny."""
    iterations = study["experiments"]["tiny"]["iterations"]
    study["experiments"]["tiny"]["iterations"] = {regime: number + 1 for regime, number in iterations.items()}


def test_the_status_of_a_finished_study(finished: Workflow) -> None:
    shown = command(finished, "status").stdout.splitlines()
    assert shown[0].split() == ["experiment", "regime", "sampling", "seed", "iterations", "time", "left", "now"]
    assert len(shown) == 1 + 4  # chains
    assert all(line.endswith("finished") for line in shown[1:])
    assert "3 of 3" in shown[1] and "1 of 1" in shown[4]


def test_the_status_while_a_training_runs(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "slow", "tests/studies/slow.yaml")
    workflow.change(lambda study: study["experiments"]["slow"]["training"].update(epochs=1000))  # it is killed soon
    running = workflow.start()
    try:
        wait_until(lambda: list(workflow.folder.glob("results/state/**/state.safetensors")), "a training")
        (line,) = command(workflow, "status").stdout.splitlines()[1:]
        assert "train 1" in line and "0 of 2" in line
    finally:
        running.kill()
        running.communicate()
    wait_until(lambda: "killed: train 1" in command(workflow, "status").stdout, "the end of the training")


def test_a_longer_study_has_its_time_estimated_from_what_was_done(copy: Workflow) -> None:
    copy.change(longer)
    line = command(copy, "status").stdout.splitlines()[1]
    assert "3 of 4" in line and "waits" in line
    shown = re.search(r"3 of 4 +(?:(\d+) min )?([\d.]+) s ", line)
    assert shown is not None and 0 < 60 * int(shown[1] or 0) + float(shown[2]) < 600


def test_prune_asks_and_then_deletes_what_no_later_step_needs(copy: Workflow) -> None:
    def checkpoints() -> set[str]:
        return {
            str(path.parent.relative_to(copy.folder)) for path in copy.folder.glob("results/models/*/*/*/checkpoint")
        }

    stale = copy.folder / "results/state" / copy.model_folder("tiny", "replace", 1).removeprefix("results/models/")
    stale.mkdir(parents=True)
    (stale / "state.safetensors").write_bytes(bytes(1000))
    stranger = copy.folder / "results/models/gpt2-gone/seed0/iteration1-0123456789"
    (stranger / "checkpoint").mkdir(parents=True)
    before = checkpoints()
    asked = command(copy, "prune", answer="n\n")
    assert asked.returncode == 1 and "Nothing was deleted." in asked.stdout
    assert checkpoints() == before

    done = command(copy, "prune", answer="y\n")
    assert done.returncode == 0, done.stderr
    middle = {copy.model_folder("tiny", regime, 2) for regime in ("replace", "accumulate")}
    assert before - checkpoints() == middle | {str(stranger.relative_to(copy.folder))}
    assert not stale.exists() and not stranger.exists()
    assert "resume checkpoints" in done.stdout and "of other studies" in done.stdout
    assert command(copy, "prune").stdout == "There is nothing to delete.\n"


def test_a_pruned_study_has_nothing_to_do_and_all_figures_can_be_drawn_again(copy: Workflow) -> None:
    before = copy.results("figures", "tables")
    assert command(copy, "prune", "--yes").returncode == 0
    assert copy.would_run() == set()
    for folder in ("figures", "tables"):
        for path in (copy.folder / "results" / folder).iterdir():
            path.unlink()
    drawn = copy.snakemake()
    assert set(drawn.jobs) == {
        "plot_headline",
        "plot_learning_curves",
        "plot_synthetic",
        "write_tables",
        "write_samples",
        "text_plot_profile",
        "text_write_paper",
        "write_profile",
        "write_report",
    }
    assert copy.results("figures", "tables") == before


def test_a_pruned_study_is_measured_again_without_a_training_and_says_what_is_missing(copy: Workflow) -> None:
    def measures(workflow: Workflow) -> pd.DataFrame:
        profile = pd.read_parquet(workflow.folder / "results/profile.parquet")
        return profile[profile["regime"] == "accumulate"].groupby("iteration")["measure"].agg(set)

    before = measures(copy)
    assert command(copy, "prune", "--yes").returncode == 0
    with (copy.folder / "src/selfloop/domains/text/profile/words.py").open("a") as code:
        code.write("\nEDITED = True\n")
    done = copy.snakemake("results/profile.parquet")
    profiled = {"measure_profile tiny seed0", "measure_profile tiny-llama seed0"}
    assert set(done.jobs) == {*profiled, "collect_metrics"}
    after = measures(copy)
    missing = {"band_cross_entropy", "bits_per_byte", "sampler_entropy"}
    assert (after[1], after[2], after[3]) == (before[1], before[2] - missing, before[3])
    (log,) = (copy.folder / "results/logs/measure_profile").glob("gpt2-*/*.log")
    assert f"{copy.model_folder('tiny', 'accumulate', 2)}/checkpoint has been deleted" in log.read_text()


def test_a_pruned_study_can_be_extended_without_training_anything_twice(copy: Workflow) -> None:
    unpruned = copy.copy(copy.folder.with_name("unpruned"))
    assert command(copy, "prune", "--yes").returncode == 0
    for workflow in (copy, unpruned):
        workflow.change(longer)
    jobs = copy.would_run()
    assert jobs == unpruned.would_run()
    assert {job for job in jobs if job.startswith("train ")} == {
        "train tiny-replace-4 t1 seed0",
        "train tiny-accumulate-4 t1 seed0",
        "train tiny-replace-multiple-3 t1 seed0",
    }


def test_a_pruned_study_has_what_a_regime_samples_again_from_earlier_models(tmp_path: Path) -> None:
    def growing(study: dict[str, Any]) -> None:
        study["regimes"] = {"growing": {"parts": [{"from": "real"}, {"from": "all", "amount": "iteration"}]}}
        study["experiments"]["linear"] |= {"regimes": ["growing"], "iterations": 3}
        del study["experiments"]["linear"]["simulation"]

    workflow = Workflow.fresh(tmp_path / "growing", "tests/studies/linear.yaml")
    workflow.change(growing)
    workflow.snakemake()
    assert command(workflow, "prune", "--yes").returncode == 0
    workflow.change(lambda study: study["experiments"]["linear"].update(iterations=4))
    jobs = Counter(job.split()[0] for job in workflow.would_run())
    assert (jobs["train"], jobs["generate"]) == (1, 6)


def test_prune_leaves_a_folder_alone_in_which_snakemake_works(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "slow", "tests/studies/slow.yaml")
    running = workflow.start()
    claim = workflow.folder / ".snakemake/selfloop.lock"
    wait_until(lambda: claim.exists() and claim.read_text(), "Snakemake")
    refused = command(workflow, "prune", "--yes")
    running.kill()
    running.communicate()
    assert refused.returncode == 1
    assert refused.stderr.startswith("selfloop: nothing was deleted: another Snakemake works in this folder")


def test_the_provenance_names_versions_config_and_every_artifact_s_seed_and_parents(finished: Workflow) -> None:
    record = json.loads((finished.folder / "results/provenance.json").read_text())
    assert record["complete"] is True
    assert record["versions"]["torch"].startswith("2.13.0") and record["versions"]["snakemake"] == "9.27.1"
    assert record["machine"]["cpus"] == os.cpu_count()
    assert list(record["config"]["content"]["experiments"]) == ["tiny", "tiny-llama"]
    artifacts = record["artifacts"]
    assert all(artifact["made"] and artifact["ran_on"] for artifact in artifacts.values())
    for name, artifact in artifacts.items():
        assert (finished.folder / name).exists()
        if artifact["kind"] == "part":
            assert artifact["parents"] == [name.split("/parts/")[0]]
    third = artifacts[finished.model_folder("tiny", "accumulate", 3)]
    assert third["seed"] == 0 and third["iteration"] == 3
    kinds = [parent.split("/")[1] for parent in third["parents"]]
    assert kinds == ["data", "models", "models", "data"]  # real rows, two parts, the tokenizer


def test_the_provenance_of_a_git_checkout_names_its_commit(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "slow", "tests/studies/linear.yaml")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-C", str(workflow.folder)]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    (target,) = {f"{workflow.model_folder('linear', 'replace', 1)}/checkpoint"}
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=-1, encoding="utf-8").stdout.strip()
    workflow.snakemake(target)
    record = json.loads((workflow.folder / "results/provenance.json").read_text())
    assert {key: record["code"][key] for key in ("commit", "changed")} == {"commit": commit, "changed": False}
    made = {artifact["made"] for artifact in record["artifacts"].values() if artifact["kind"] == "model"}
    assert made == {True, False}  # of a run for one target, as far as it went


def test_a_failed_step_shows_the_last_lines_of_its_log(copy: Workflow) -> None:
    model = copy.model_folder("tiny-llama", "replace", 1)
    subprocess.run(["rm", "-r", str(copy.folder / model / "checkpoint")], check=True)
    for path in (copy.folder / model / "training-set/shards").iterdir():
        path.unlink()
    failed = copy.snakemake(f"{model}/checkpoint", code=1)
    shown = failed.output.partition(f"\nThe end of results/logs/train/{model.removeprefix('results/models/')}.log:\n")[
        2
    ]
    assert "is missing. Delete" in shown and "training-set" in shown
    assert len(shown.splitlines()) < 25
    (job,) = re.findall(r"To run this step alone: selfloop step (\S+)", failed.output)
    spec = JobSpec.from_json((copy.folder / job).read_text(encoding="utf-8"))
    assert (spec.rule, spec.folder) == ("train", str(copy.folder))


def test_another_study_in_the_same_folder_is_said(copy: Workflow) -> None:
    other = Workflow(copy.folder, "tests/studies/linear.yaml")
    done = other.snakemake("results/data/none", code=1)
    assert "holds another study" not in done.output  # nothing began
    done = other.snakemake(f"{other.model_folder('linear', 'replace', 1)}/checkpoint")
    assert done.output.count("results holds another study, of tiny, tiny-llama. Its models and data stay") == 1


def test_results_of_other_versions_are_said(copy: Workflow) -> None:
    path = copy.folder / "results/provenance.json"
    record = json.loads(path.read_text())
    record["versions"]["torch"] = "1.13.0"
    path.write_text(json.dumps(record))
    (copy.folder / "results/tables/text-trend.csv").unlink()
    done = copy.snakemake()
    assert done.output.count("results was begun with other versions: torch 1.13.0, now 2.13.0") == 1


def mounted(*arguments: str) -> None:
    """Mount something; these tests need root, as containers and CI machines give it."""
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A study whose results lie on a disk of 400 kB, in a path with spaces."""
    workflow = Workflow.fresh(tmp_path / "a slow study", "tests/studies/slow.yaml")
    results = workflow.folder / "results"
    results.mkdir()
    mounted("-t", "tmpfs", "-o", "size=400k", "tmpfs", str(results))
    yield workflow
    subprocess.run(["umount", str(results)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_one_message_and_nothing_is_damaged(small_disk: Workflow) -> None:
    failed = small_disk.snakemake(code=1)
    (line,) = messages(failed.output)
    assert line.startswith("selfloop: train: no space left on the disk")
    assert "Traceback" not in failed.output
    results = small_disk.folder / "results"
    mounted("-o", "remount,size=50m", str(results))
    small_disk.snakemake()
    whole = Workflow.fresh(small_disk.folder.with_name("whole"), small_disk.config)
    whole.snakemake()
    assert small_disk.results() == whole.results()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a folder read-only")
def test_a_read_only_results_folder_is_one_message(copy: Workflow) -> None:
    results = str(copy.folder / "results")
    (copy.folder / "results/metrics.parquet").unlink()
    before = copy.results()
    mounted("--bind", results, results)
    mounted("-o", "remount,ro,bind", results)
    try:
        failed = copy.snakemake(code=1)
    finally:
        subprocess.run(["umount", results], check=True)
    (line,) = messages(failed.output)
    assert "is read-only; results cannot be written there" in line
    assert "Traceback" not in failed.output
    assert copy.results() == before


def test_a_damaged_part_is_not_trained_on_and_is_made_anew(copy: Workflow) -> None:
    model = copy.model_folder("tiny", "accumulate", 2)
    before = copy.results("models")
    shard = max((copy.folder / model / "training-set/shards").iterdir()).resolve()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    shutil.rmtree(copy.folder / model / "checkpoint")
    failed = copy.snakemake(f"{model}/checkpoint", code=1)
    assert f"selfloop: train: {shard.relative_to(copy.folder)}, which {model}/training-set/shards/" in failed.output
    assert "Traceback" not in failed.output and not (copy.folder / model / "checkpoint").exists()
    damaged = verify(copy)
    assert damaged.returncode == 1 and str(shard.relative_to(copy.folder)) in damaged.stdout
    (told,) = set(re.findall(r"Delete (\S+) and (\S+) and run Snakemake again: they are made again\.", failed.output))
    for name in told:
        shutil.rmtree(copy.folder / name)
    copy.snakemake(f"{model}/checkpoint")
    assert copy.results("models") == before
    assert verify(copy).stdout.endswith(": none damaged.\n")
