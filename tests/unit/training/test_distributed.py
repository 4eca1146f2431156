"""How the processes of a step find each other."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed

from selfloop.processes import group as processes
from selfloop.training.distributed import process_group


@pytest.mark.parametrize(("kind", "backend"), [("cpu", "gloo"), ("cuda", "nccl")])
def test_a_rank_waits_for_days_for_the_others_and_its_gpu_is_bound(
    kind: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After NCCL's default, ten minutes, its watchdog would abort a rank that has finished its share of a part."""
    asked: dict[str, Any] = {}

    def init(name: str, **how: Any) -> None:
        asked.update(how, backend=name)

    monkeypatch.setattr(torch.distributed, "init_process_group", init)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    for variable, value in ((processes.SIZE, "2"), (processes.RANK, "1"), (processes.MEETING, str(tmp_path / "m"))):
        monkeypatch.setenv(variable, value)
    device = torch.device(kind, 1) if kind == "cuda" else torch.device(kind)
    with process_group(device) as group:
        assert (group.rank, group.size) == (1, 2)
    assert asked["backend"] == backend
    assert asked["timeout"] >= timedelta(days=1)
    assert asked["device_id"] == (device if kind == "cuda" else None)
