"""`selfloop verify` looks at everything that a step reads, and names what is damaged."""

import os
from pathlib import Path

import pytest
import torch

from selfloop.checksums import record_file
from selfloop.cli import main
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.errors import UserError
from selfloop.operations.verify import artifacts, verify
from selfloop.training.resume import ResumeCheckpoint
from selfloop.training.slices import FinishedSlices

NAMES = Path(__file__).parents[2] / "golden/names"
PAGE = ("results/report/index.html", "results/report/summary.txt")  # which no step reads


def write(path: Path) -> None:
    """An artifact: a file if its name has a suffix, else a folder with one."""
    if path.suffix:
        with atomic_file(path) as scratch:
            scratch.write_bytes(bytes(100))
    else:
        with atomic_folder(path) as scratch:
            (scratch / "shard-00000.parquet").write_bytes(bytes(100))


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """All outputs of two studies, one of them of text, but for the page."""
    monkeypatch.chdir(tmp_path)
    lines = [line for name in ("tiny", "linear") for line in (NAMES / f"tests-studies-{name}.txt").read_text().split()]
    paths = sorted({Path(word) for word in lines if word.startswith("results/") and word not in PAGE})
    for path in paths:
        write(path)
    return paths


def test_every_output_of_every_rule_is_checked(outputs: list[Path]) -> None:
    assert artifacts(Path("results")) == outputs and len(outputs) > 100


def test_files_that_are_no_artifacts_are_passed_over(outputs: list[Path]) -> None:
    for name in (
        "logs/train/a.log",
        "report/index.html",
        "provenance.json",
        "figures/mine.png",
        "notes.txt",
        "state/a",
    ):
        Path("results", name).parent.mkdir(parents=True, exist_ok=True)
        Path("results", name).write_text("x")
    (outputs[0].parent / f".{outputs[0].name}.partial").mkdir()
    assert artifacts(Path("results")) == outputs


@pytest.mark.usefixtures("outputs")
def test_a_sound_folder_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify"])
    assert not ended.value.code
    assert ": none damaged.\n" in capsys.readouterr().out


def test_every_damaged_artifact_is_named(outputs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    part = next(path for path in outputs if path.parent.name == "parts" and not path.suffix)
    (part / "shard-00000.parquet").write_bytes(bytes(99) + b"\1")
    (part / "shard-00000 (1).parquet").write_bytes(bytes(100))
    curve = next(path for path in outputs if path.name == "learning_curve.parquet")
    os.truncate(curve, 50)
    checkpoint = next(path for path in outputs if path.name == "checkpoint")
    record_file(checkpoint).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["verify", "results"])
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[-1].endswith(": 3 damaged.")
    for name in (part / "shard-00000.parquet", part / "shard-00000 (1).parquet", curve, record_file(checkpoint)):
        assert any(line.startswith(f"{name}") for line in lines)


@pytest.mark.usefixtures("outputs")
def test_a_damaged_saved_state_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("results/state/gpt2/seed0/iteration1-0123")
    state = ResumeCheckpoint(folder, "mine", 60.0)
    state.save({"weights": torch.ones(100)}, 1, [])
    assert verify(Path("results")) == 0
    content = bytearray(state.path.read_bytes())
    content[-1] ^= 1
    state.path.write_bytes(content)
    assert verify(Path("results")) == 1
    assert (
        f"{state.path} cannot be read (ValueError: its checksum is not that of what was saved). Its training will"
        in (capsys.readouterr().out)
    )


def test_one_artifact_can_be_checked_alone(outputs: list[Path]) -> None:
    checkpoint = next(path for path in outputs if path.name == "checkpoint")
    assert artifacts(checkpoint) == [checkpoint] and verify(checkpoint) == 0


def test_a_folder_without_artifacts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no artifact of a study \(allowed: a folder results, or one artifact\)"):
        verify(tmp_path)


@pytest.mark.usefixtures("outputs")
def test_a_slice_of_a_part_that_is_not_as_it_was_saved_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("results/state/parts/gpt2/seed0/iteration1-0123456789abcdef/t1-0123456789abcdef")
    finished = FinishedSlices(folder, "mine")
    finished.save(0, {"values": torch.arange(5)})
    finished.save(512, {"values": torch.arange(5)})
    assert verify(Path("results")) == 0
    path = folder / "slice-000000512.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert verify(Path("results")) == 1
    said = capsys.readouterr()
    assert f"{path} cannot be read" in said.out + said.err and "It will be sampled again." in said.out + said.err
