"""What is said of a chain whose steps wait, run, failed or are done."""

from pathlib import Path

import pytest
import yaml

from selfloop.operations.progress import Step, progress, speeds, steps
from selfloop.planning.rules import plan_study
from selfloop.planning.study import Chain

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


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def do(step: Step) -> None:
    """Let a step be done, in two seconds."""
    write(step.output)
    write(step.log, f"{step.rule} begins\n{step.rule} is done: 1.50 s of work, 0.50 s of start-up\n")


def rules(chain: Chain) -> list[list[str]]:
    """The rules of a chain's steps by iteration."""
    return [[step.rule for step in iteration] for iteration in steps(chain)]


def test_a_chain_begins_with_the_real_data_and_every_model_with_its_training_set(chain: Chain) -> None:
    model = ["concatenate", "train", "generate", "evaluate_model", "evaluate_part"]
    assert rules(chain) == [["prepare_data", "train_tokenizer", "tokenize", *model], model]


@pytest.mark.parametrize("place", range(13))
def test_a_step_that_failed_is_named_whichever_it_is(chain: Chain, place: int) -> None:
    numbered = [(number, step) for number, iteration in enumerate(steps(chain), start=1) for step in iteration]
    for _, step in numbered[:place]:
        do(step)
    number, failed = numbered[place]
    write(failed.log, f"{failed.rule} begins\nsome error\n")
    found = progress(chain, speeds([chain]))
    assert found.now == f"FAILED or killed: {failed.rule} {number}, see {failed.log}"
    assert found.done == number - 1


def test_time_is_estimated_of_the_loop_s_steps_alone(chain: Chain) -> None:
    first, second = steps(chain)
    for step in first:
        do(step)
    known = speeds([chain])
    assert {rule for _, rule in known} == {"train", "generate", "evaluate_model", "evaluate_part"}
    assert progress(chain, known).seconds_left == 4 * 2.0
    do(second[0])  # concatenate
    assert progress(chain, known).seconds_left == 4 * 2.0


def test_a_chain_whose_real_data_were_deleted_when_it_was_done_is_finished(chain: Chain) -> None:
    for step in [step for iteration in steps(chain) for step in iteration]:
        do(step)
    for step in steps(chain)[0][:4]:
        step.output.unlink()
    found = progress(chain, {})
    assert (found.done, found.now) == (2, "finished")
