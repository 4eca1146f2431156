"""`selfloop check-gpu`: tried on a CPU, with the smallest models."""

import pytest
import torch

from selfloop.cli import main
from selfloop.operations.gpu import check
from selfloop.operations.gpu.launches import Launches

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="what is expected where there is no GPU")


def run(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["check-gpu", *arguments])
    assert not isinstance(ended.value.code, str), ended.value.code
    return ended.value.code or 0


@NO_GPU
def test_every_check_runs_on_a_cpu_and_nothing_is_bad(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--tiny") == 0
    said = capfd.readouterr().out
    for name in check.GPUCheck(True).checks:
        assert f" {name}: " in said and f"| {name} |" in said, name
    assert "good  twice: GPT-2 9M, eager: " in said
    assert "good  resumed: stopped at step 3 of 6: " in said
    assert "good  waits: Llama 126M: " in said and "good  waits: Llama 126M, sampling: " in said
    assert "good  refusal: a GPU that is not there: UserError: the step requested a GPU" in said
    assert said.rstrip().endswith("no lines are bad.")


@NO_GPU
def test_a_step_that_waits_and_bytes_that_differ_are_bad(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def waiting(*_: object) -> Launches:
        launches = Launches()
        launches.counts["nonzero"] = 2
        return launches

    sums = iter("abcdef")
    monkeypatch.setattr(check, "of_training_step", waiting)
    monkeypatch.setattr(check.GPUCheck, "_trained", lambda *_, **__: (next(sums), 0.0, ""))
    assert run("--tiny", "--only", "waits", "--only", "twice") == 1
    said = capfd.readouterr().out
    assert "BAD   waits: GPT-2 9M: 2 launches, waits: {'nonzero': 2}" in said
    assert "BAD   twice: GPT-2 9M, eager: a and b" in said
    assert said.rstrip().endswith("4 lines are bad.")


@NO_GPU
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "torch sees no GPU here. `selfloop check-gpu --tiny` tries the checks on the CPU."),
        (("--tiny", "--only", "speed"), "--only speed: there is no such check. Allowed: machine, refusal, "),
    ],
)
def test_what_cannot_be_checked_is_one_message(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(SystemExit, match="selfloop: ") as ended:
        main(["check-gpu", *arguments])
    assert says in str(ended.value)
