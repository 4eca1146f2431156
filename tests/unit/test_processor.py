"""Which compute dtype `precision: auto` takes on which processor."""

from pathlib import Path

import pytest
import torch

from selfloop.errors import UserError
from selfloop.processor import AUTO, auto_precision, processor
from selfloop.training.devices import compute_dtype

XEON = "GenuineIntel", "avx2 avx512f avx512_vnni"
KINDS = [
    (*XEON, "float32"),
    (XEON[0], f"{XEON[1]} avx512_bf16", "float32"),  # Cooper Lake
    (XEON[0], f"{XEON[1]} avx512_bf16 amx_bf16 amx_tile amx_int8", "bfloat16"),  # Sapphire Rapids
    ("AuthenticAMD", "avx2", "float32"),
    ("AuthenticAMD", "avx2 avx512f avx512_bf16", "bfloat16"),  # Zen 4
    ("", "fp asimd", "float32"),
]


def described(folder: Path, vendor: str, flags: str) -> Path:
    """A /proc/cpuinfo of two cores."""
    core = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Some CPU\nflags\t\t: fpu {flags}\n\n"
    path = folder / "cpuinfo"
    path.write_text(core + core.replace("Some", "Other"))
    return path


@pytest.mark.parametrize(("vendor", "flags", "dtype"), KINDS)
def test_auto_takes_what_the_processor_multiplies_faster(
    vendor: str, flags: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = processor(described(tmp_path, vendor, flags))
    assert (found.model, found.vendor, found.precision) == ("Some CPU", vendor, dtype)
    monkeypatch.delenv(AUTO, raising=False)
    monkeypatch.setattr("selfloop.processor.processor", lambda: found)
    assert compute_dtype("auto", torch.device("cpu")) == getattr(torch, dtype)


def test_a_machine_that_does_not_describe_its_processor_takes_float32(tmp_path: Path) -> None:
    assert processor(tmp_path / "missing").precision == "float32"


def test_the_environment_may_choose_in_place_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setenv(AUTO, dtype)
        assert compute_dtype("auto", torch.device("cpu")) == getattr(torch, dtype)
    monkeypatch.setenv(AUTO, "float16")
    with pytest.raises(UserError, match=r"SELFLOOP_AUTO_PRECISION is 'float16'; allowed: bfloat16, float32\."):
        auto_precision()
