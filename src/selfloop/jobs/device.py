"""What a step computes on: an event of its record. Light, and on its own: the steps import it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """What an attempt computes on, and how.

    Attributes:
        name: of the GPU, or the model of the CPU.
        capability: compute capability of the GPU, or the vector instructions of the CPU.
        memory: bytes, used or free.
        driver, cuda: versions of NVIDIA's driver and of the CUDA that torch is built for; None on a CPU.
        torch: version.
        dtype: compute dtype.
        attention: backend of scaled_dot_product_attention; None in models without attention.
        compiled: whether torch.compile is on.
        count: devices.
    """

    name: str
    capability: str
    memory: int
    driver: str | None
    cuda: str | None
    torch: str
    dtype: str
    attention: str | None = None
    compiled: bool = False
    count: int = 1

    def __str__(self) -> str:
        many = f"{self.count} x " if self.count > 1 else ""
        how = [self.dtype, self.attention and f"attention {self.attention}", "compiled" if self.compiled else "eager"]
        what = [
            f"{many}{self.name} ({self.capability}, {self.memory / 2**30:.0f} GiB)",
            self.driver and f"driver {self.driver}",
            self.cuda and f"CUDA {self.cuda}",
            f"torch {self.torch}",
            *how,
        ]
        return ", ".join(filter(None, what))
