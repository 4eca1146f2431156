"""What is said of a chain whose steps wait, run, failed or are done."""

import logging
from pathlib import Path

import pytest
import yaml

from selfloop.jobs.record import Record
from selfloop.operations.status import Step, speeds, status, steps
from selfloop.planning.artifacts import Chain
from selfloop.planning.rules import plan_study

LOG = logging.getLogger("x")
CONFIG = """
experiments:
  plays:
    domain: text
    data: {source: packaged, name: shakespeare, rows: 64}
    model: {architecture: gpt2, hidden_size: 16, layers: 1, heads: 2, context: 32, vocabulary: 300}
    training: {epochs: 1, batch_size: 8}
    regimes: [replace]
    iterations: 2
    seeds: [0]
"""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """A chain of two iterations, and an empty current folder."""
    monkeypatch.chdir(tmp_path)
    (chain,) = plan_study(yaml.safe_load(CONFIG)).chains
    return chain


def do(step: Step) -> None:
    """Let a step be done, in two seconds."""
    step.output.parent.mkdir(parents=True, exist_ok=True)
    step.output.touch()
    with Record(step.log) as record:
        record.begin(step.rule, LOG)
        record.done(1.5, 0.5)


def rules(chain: Chain) -> list[list[str]]:
    """The rules of a chain's steps by iteration."""
    return [[step.rule for step in iteration] for iteration in steps(chain)]


def test_a_chain_begins_with_the_real_data_and_every_model_with_its_training_set(chain: Chain) -> None:
    model = ["concatenate", "train", "generate", "evaluate_model", "evaluate_part"]
    assert rules(chain) == [
        ["prepare_data", "train_tokenizer", "tokenize", "measure_baseline", *model],
        [*model, "measure_profile"],
    ]


@pytest.mark.parametrize("place", range(14))
@pytest.mark.parametrize("state", ["FAILED", "killed"])
def test_a_step_that_failed_or_was_killed_is_named_whichever_it_is(chain: Chain, place: int, state: str) -> None:
    numbered = [(number, step) for number, iteration in enumerate(steps(chain), start=1) for step in iteration]
    for _, step in numbered[:place]:
        do(step)
    number, failed = numbered[place]
    with Record(failed.log) as record:
        record.begin(failed.rule, LOG)
        if state == "FAILED":
            record.failed(ValueError("some error"))
    found = status(chain, speeds([chain]))
    assert found.now == f"{state}: {failed.rule} {number}, see {failed.log}"
    assert found.done == number - 1


def test_of_a_step_that_runs_the_share_that_is_done_is_said_and_its_own_time_left(chain: Chain) -> None:
    (first, second) = steps(chain)
    for step in [*first, second[0]]:
        do(step)
    with Record(second[1].log) as record:
        record.begin("train", LOG)
        record.progress(30, 40, 20, 7.0)
        found = status(chain, speeds([chain]))
    assert (found.done, found.now, found.seconds_left) == (1, "train 2 (75%)", 7.0 + 3 * 2.0)


def test_time_is_estimated_of_the_loop_s_steps_alone(chain: Chain) -> None:
    first, second = steps(chain)
    for step in first:
        do(step)
    known = speeds([chain])
    assert {rule for _, rule, _ in known} == {"train", "generate", "evaluate_model", "evaluate_part"}
    assert status(chain, known).seconds_left == 4 * 2.0
    do(second[0])  # concatenate
    assert status(chain, known).seconds_left == 4 * 2.0


@pytest.mark.parametrize(("length", "units"), [("epochs: 3", [3.0, 6.0]), ("steps: 40", [40.0, 40.0])])
def test_a_training_takes_as_long_as_its_epochs_of_rows_or_its_steps(length: str, units: list[float]) -> None:
    config = CONFIG.replace("epochs: 1", length).replace("[replace]", "[accumulate]")
    (chain,) = plan_study(yaml.safe_load(config)).chains
    assert [step.units for iteration in steps(chain) for step in iteration if step.rule == "train"] == units


def test_a_chain_whose_real_data_were_deleted_when_it_was_done_is_finished(chain: Chain) -> None:
    for step in [step for iteration in steps(chain) for step in iteration]:
        do(step)
    for step in steps(chain)[0][:4]:
        step.output.unlink()
    found = status(chain, {})
    assert (found.done, found.now) == (2, "finished")


def test_of_a_killed_sampling_the_slices_that_are_kept_are_said(chain: Chain) -> None:
    first, _ = steps(chain)
    for step in first[:6]:
        do(step)
    with Record(first[6].log) as record:
        record.begin("generate", LOG)
    kept = Path("results/state/parts", chain.models[0].name, first[6].output.name)
    kept.mkdir(parents=True)
    for name in ("slice-000000000.safetensors", "slice-000000512.safetensors", ".slice-000001024.safetensors.partial"):
        (kept / name).touch()
    assert status(chain, {}).now == f"killed: generate 1 (2 slices are kept), see {first[6].log}"
