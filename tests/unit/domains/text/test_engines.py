"""vLLM that is not there is said before the study starts; one that fails says so in its step's own message."""

import logging
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfloop.domains.text.config import Data, Model, Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.domain import DOMAIN, Experiment
from selfloop.domains.text.sampling import vllm_engine, vllm_python, vllm_worker
from selfloop.domains.text.sampling.engine import Request
from selfloop.errors import UserError

SAMPLING = Sampling(engine="vllm")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What was found before does not count."""
    vllm_python._find.cache_clear()
    yield
    vllm_python._find.cache_clear()


def program(path: Path, text: str) -> Path:
    """A Python program that stands for vLLM's interpreter: with `-c` it is asked whether it has vLLM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = "import sys\nif '-c' in sys.argv: sys.exit(0)\n"
    path.write_text(f"#!{sys.executable}\n{asked}{text}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


# --- where it is -----------------------------------------------------------------------------------------------------


def test_the_variable_names_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = program(tmp_path / "python", "")
    monkeypatch.setenv(vllm_python.VARIABLE, str(python))
    assert vllm_python.find_vllm() == python


@pytest.mark.parametrize(
    ("named", "said"),
    [("/no/such/python", "'/no/such/python', which is not a program"), (sys.executable, "not installed in the Python")],
)
def test_a_variable_that_names_no_vllm_is_an_error(named: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm_python.VARIABLE, named)
    with pytest.raises(UserError, match=f"SELFLOOP_VLLM_PYTHON.*{named}") as error:
        vllm_python.find_vllm()
    assert said in str(error.value)
    assert "make vllm-cpu" in str(error.value)


def test_the_makefiles_environments_are_found(tmp_path: Path) -> None:
    cpu = program(tmp_path / ".venv-vllm-cpu" / "bin" / "python", "")
    assert vllm_python._find(None, tmp_path) == cpu
    vllm_python._find.cache_clear()
    gpu = program(tmp_path / ".venv-vllm-gpu" / "bin" / "python", "")
    assert vllm_python._find(None, tmp_path) == gpu


def test_without_any_vllm_the_message_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        vllm_python._find(None, tmp_path)
    for said in (str(tmp_path / ".venv-vllm-cpu"), sys.prefix, "make vllm-cpu", vllm_python.VARIABLE):
        assert said in str(error.value)


def _problems(monkeypatch: pytest.MonkeyPatch, named: str, **changes: Any) -> list[str]:
    monkeypatch.setenv(vllm_python.VARIABLE, named)
    entry = Experiment(
        domain="text",
        data=Data(source="packaged", name="shakespeare"),
        model=Model(architecture="gpt2", heads=2, hidden_size=16, context=32),
        sampling=[SAMPLING.changed(**changes)],
        regimes=["replace"],
        iterations=1,
        seeds=[0],
    )
    return DOMAIN.problems(entry)


def test_a_study_that_asks_for_vllm_does_not_start_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = _problems(monkeypatch, sys.executable)
    assert problem.startswith("sampling[0].engine: vLLM is not installed in")


def test_a_temperature_that_vllm_would_change_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = str(program(tmp_path / "python", ""))
    (problem,) = _problems(monkeypatch, python, temperature=0.005)
    assert problem.startswith("sampling[0].temperature: 0.005 would be taken as 0.01 by vLLM. Allowed")
    for fine in ({"temperature": 0.0}, {"temperature": 0.01}, {"temperature": 0.005, "engine": "torch"}):
        assert not _problems(monkeypatch, python, **fine)


# --- what the worker says and leaves ---------------------------------------------------------------------------------


def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[list[np.ndarray], list[int]]:
    """What the engine makes of a worker that does as `text` says: documents, and the numbers of tokens it was told."""
    monkeypatch.setenv(vllm_python.VARIABLE, str(program(tmp_path / "python", text)))
    told: list[int] = []
    prompts = np.full((3, 1), END_OF_TEXT_ID, dtype=np.int64)
    request = Request(tmp_path / "checkpoint", prompts, SAMPLING, "part", on_tokens=told.append)
    return vllm_engine.sample(request), told


ANSWERS = """
import json, os, numpy
folder = sys.argv[-1] + "/"
task = json.load(open(folder + "task.json"))
assert task["streams"] == "part" and task["sampling"]["engine"] == "vllm" and task["parent"] == os.getppid()
assert numpy.load(folder + "prompts.npy").tolist() == [[0], [0], [0]]
print("selfloop-tokens 0")
print("vLLM says something", file=sys.stderr)
print("selfloop-tokens 4")
numpy.save(folder + "tokens.npy", numpy.array([0, 7, 0, 0, 0, 8, 9], dtype=numpy.int32))
numpy.save(folder + "lengths.npy", numpy.array([3, 1, 3]))
"""


def test_documents_progress_and_messages_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("selfloop").propagate = True
    with caplog.at_level(logging.INFO):
        documents, told = ask(tmp_path, monkeypatch, ANSWERS)
    assert [document.tolist() for document in documents] == [[0, 7, 0], [0], [0, 8, 9]]
    assert told == [0, 4]
    assert "vLLM: vLLM says something" in caplog.messages
    assert not any(vllm_worker.PROGRESS in message for message in caplog.messages)


def test_a_worker_that_fails_is_an_error_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"(?s)vLLM failed on .*checkpoint.*exit code 1.*no kernel for this"):
        ask(tmp_path, monkeypatch, "sys.exit('no kernel for this')")


def test_what_the_worker_refuses_is_said_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = f"open(sys.argv[-1] + '/problem.txt', 'w').write('heads too wide'); sys.exit({vllm_worker.REFUSED})"
    with pytest.raises(UserError, match=r"^heads too wide$"):
        ask(tmp_path, monkeypatch, refuses)


def test_an_answer_to_another_number_of_prompts_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="returned 2 documents for 3 prompts"):
        ask(tmp_path, monkeypatch, ANSWERS.replace("[3, 1, 3]", "[4, 3]"))


def test_the_worker_knows_the_end_of_text() -> None:
    assert vllm_worker.END_OF_TEXT_ID == END_OF_TEXT_ID
