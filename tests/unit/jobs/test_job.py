"""A training's fingerprint: what it depends on, and not when its inputs were copied."""

import os
import shutil
from pathlib import Path

import pytest

from selfloop.data.atomic import atomic_folder
from selfloop.jobs.job import Job, StepParams


def fingerprint(folder: Path, content: str, monkeypatch: pytest.MonkeyPatch, **params: int) -> str:
    """Of a job whose input holds `content`."""
    with atomic_folder(folder / "part") as scratch:
        (scratch / "shard.parquet").write_text(content)
    monkeypatch.chdir(folder)
    return Job({"parts": ["part"]}, {}, StepParams.model_validate(params)).fingerprint()


def test_a_copied_folder_has_the_same_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(tmp_path / "a", "rows", monkeypatch, epochs=1)
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    os.utime(tmp_path / "b/part/shard.parquet", (0, 0))
    monkeypatch.chdir(tmp_path / "b")
    assert Job({"parts": ["part"]}, {}, StepParams.model_validate({"epochs": 1})).fingerprint() == first


def test_other_content_or_settings_have_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [("rows", 1), ("rowz", 1), ("rows", 2)]
    found = {fingerprint(tmp_path / "a", content, monkeypatch, epochs=epochs) for content, epochs in cases}
    assert len(found) == len(cases)
