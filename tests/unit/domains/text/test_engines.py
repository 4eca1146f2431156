"""vLLM that is not there is said before the study starts; one that fails says so in its step's own message."""

import logging
import stat
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfloop.domains.text.config import Data, Model, Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.domain import DOMAIN, Experiment
from selfloop.domains.text.sampling import torch_engine, vllm_engine, vllm_python, vllm_worker
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.steps import generate
from selfloop.errors import UserError
from selfloop.jobs.device import Device
from selfloop.jobs.job import Job
from selfloop.processes.group import PROMISED
from selfloop.training.slices import FinishedSlices

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


USED: list[Device] = []


def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[list[np.ndarray], list[int]]:
    """What the engine makes of a worker that does as `text` says: documents, and the numbers of tokens it was told."""
    monkeypatch.setenv(vllm_python.VARIABLE, str(program(tmp_path / "python", text)))
    told: list[int] = []
    prompts = np.full((3, 1), END_OF_TEXT_ID, dtype=np.int64)
    checkpoint = tmp_path / "checkpoint"
    request = Request(checkpoint, prompts, SAMPLING, "part", on_tokens=told.append, uses=USED.append, gpus=1)
    return vllm_engine.sample(request), told


ANSWERS = """
import json, os, numpy
folder = sys.argv[-1] + "/"
task = json.load(open(folder + "task.json"))
assert task["end"] == 0
assert task["streams"] == "part" and task["sampling"]["engine"] == "vllm" and task["parent"] == os.getppid()
assert numpy.load(folder + "prompts.npy").tolist() == [[0], [0], [0]]
print("selfloop-tokens 0")
device = {"name": "H100", "capability": "9.0", "memory": 8 * 10**10, "driver": "580", "cuda": "13.0", "torch": "2.13.0"}
print("selfloop-device", json.dumps(device | {"dtype": "bfloat16", "attention": None, "compiled": False, "count": 1}))
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
    assert (USED[-1].name, USED[-1].cuda, USED[-1].dtype) == ("H100", "13.0", "bfloat16")
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


LARGE = {"n_embd": 256, "n_layer": 8, "n_head": 16, "n_positions": 2048}


def test_on_a_gpu_full_batches_run_as_cuda_graphs_and_the_cache_leaves_room_for_others() -> None:
    options = vllm_worker._options("cuda", LARGE, 2048, 2, 80 * 2**30)
    assert options["max_cudagraph_capture_size"] == vllm_worker.SEQUENCES["cuda"]
    assert options["kv_cache_memory_bytes"] == 1024 * (2048 + 16) * 8 * 2 * 256 * 2  # all sequences at their longest
    assert "enforce_eager" not in options
    small = vllm_worker._options("cuda", LARGE, 2048, 2, 16 * 2**30)
    assert small["kv_cache_memory_bytes"] == 8 * 2**30


def test_on_a_cpu_the_cache_holds_all_sequences_too_and_nothing_is_compiled() -> None:
    options = vllm_worker._options("cpu", LARGE, 2048, 2, 2**30)
    assert options == {"kv_cache_memory_bytes": 256 * (2048 + 128) * 8 * 2 * 256 * 2, "enforce_eager": True}


def test_the_worker_neither_builds_flashinfer_nor_samples_with_it() -> None:
    assert vllm_engine._environment({}, Path("/v/bin/python"), 1)["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


def test_a_worker_of_a_cpu_build_is_told_that_the_step_should_have_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROMISED, "CUDA_VISIBLE_DEVICES is 0")
    told = "import json; task = json.load(open(sys.argv[-1] + '/task.json')); sys.exit(task['promised'])"
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES is 0"):
        ask(tmp_path, monkeypatch, told)


def test_a_worker_of_a_cpu_build_does_not_sample_where_the_step_should_have_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """vLLM is not installed here: what the worker imports of it says that it is for CPUs."""
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.platforms")}
    modules["vllm"].EngineArgs = modules["vllm"].LLMEngine = None  # type: ignore[attr-defined]
    modules["vllm.platforms"].current_platform = SimpleNamespace(is_cpu=lambda: True)  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(vllm_worker.Refused, match=r"requested a GPU \(a sign\), and this vLLM is built for CPUs"):
        vllm_worker._engine({"promised": "a sign"}, LARGE, 2048)


def test_sampling_with_vllm_takes_no_memory_of_its_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The step's own process would hold a CUDA context otherwise."""

    def used(*_: object, **__: object) -> None:
        raise AssertionError("torch is set up for the GPU")

    monkeypatch.setattr(generate, "prepare_torch", used)
    monkeypatch.setattr(generate, "sample_share", lambda *_: torch.tensor([1, 5, 1, 0]))
    monkeypatch.setattr(generate, "rank_folder", lambda *_: nullcontext(tmp_path))
    monkeypatch.setattr(generate, "count_rows", lambda folder: 1)
    monkeypatch.setattr(generate, "of_part", lambda *_: FinishedSlices())
    params = generate.Params.model_construct(sampling=SAMPLING)
    generate.run(Job({"checkpoint": "c", "real": "r"}, {"part": "p"}, params, gpus=1))


@pytest.mark.parametrize(
    ("slices", "threads", "expected"),
    [
        ([512], 1, 512),
        ([512], 2, 256),
        ([512, 512], 2, 512),
        ([512, 88], 2, 103),  # three pieces beside two and the 88
        ([512, 512, 512], 2, 256),
        ([512] * 64, 2, 512),
        ([512], 16, 35),  # fifteen pieces
        ([512], 64, 32),  # not smaller
        ([20], 4, 20),
        ([], 2, 1),
    ],
)
def test_slices_are_sampled_in_pieces_that_keep_the_threads_busy(
    slices: list[int], threads: int, expected: int
) -> None:
    assert torch_engine.piece_size(slices, threads) == expected


@pytest.mark.parametrize(
    ("gigabytes", "shared", "rows", "expected"),
    [
        (24, "1", 33_280, 2),
        (80, "1", 33_280, 2),
        (80, "1", 512, 7),
        (141, "1", 512, 8),
        (80, "4", 512, 1),
        (8, "1", 512, 1),
    ],
)
def test_slices_side_by_side_on_a_gpu_follow_from_its_memory_and_their_size(
    gigabytes: int, shared: str, rows: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_engine, "total_memory", lambda device: gigabytes * 2**30)
    monkeypatch.setenv("SELFLOOP_GPU_SHARES", shared)
    assert torch_engine.slices_at_once(torch.device("cuda"), rows) == expected
