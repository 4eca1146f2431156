"""This machine's processor, and the compute dtype that `precision: auto` takes on it. Does not import torch."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from selfloop.errors import UserError

AUTO = "SELFLOOP_AUTO_PRECISION"  # what `precision: auto` takes on CPUs, in place of what `Processor` says
DTYPES = ("bfloat16", "float32")


@dataclass(frozen=True)
class Processor:
    """A kind of processor.

    Attributes:
        model: its name.
        vendor: its maker, such as "GenuineIntel"; "" where Linux does not say.
        flags: its instruction sets, in Linux's words.
    """

    model: str
    vendor: str
    flags: frozenset[str]

    def __str__(self) -> str:
        return ", ".join([self.model or "unknown processor", *self.special])

    @property
    def precision(self) -> str:
        """The faster dtype of matrix products: "bfloat16" with units for it, else "float32".

        AMX multiplies bfloat16 many times as fast as AVX-512 multiplies float32. AVX-512's own bfloat16 is twice as
        fast as float32 on AMD's processors (Zen 4 and 5) and half as fast on Intel's.
        """
        amd = self.vendor == "AuthenticAMD" and "avx512_bf16" in self.flags
        return "bfloat16" if amd or {"amx_tile", "amx_bf16"} <= self.flags else "float32"

    @property
    def special(self) -> list[str]:
        """Those of its instruction sets that decide how fast models are."""
        known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
        return [flag for flag in known if flag in self.flags]


@cache
def processor(path: Path = Path("/proc/cpuinfo")) -> Processor:
    """The processor of this machine, as Linux describes it."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = frozenset(entries.get("flags", entries.get("Features", "")).split())
    return Processor(entries.get("model name", platform.processor()), entries.get("vendor_id", ""), flags)


def auto_precision() -> str:
    """What `precision: auto` takes on the CPUs of this machine, "bfloat16" or "float32".

    Raises:
        UserError: SELFLOOP_AUTO_PRECISION holds something else.
    """
    given = os.environ.get(AUTO)
    if given is None:
        return processor().precision
    if given not in DTYPES:
        raise UserError(f"{AUTO} is {given!r}; allowed: {', '.join(DTYPES)}.")
    return given
