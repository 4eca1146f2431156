"""KV cache."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.model.blocked_cache import BlockedMemory
from selfloop.domains.text.model.shape import Shape

MOVED = 1 / 8  # fraction of the memory's rows that are copied at a time when sequences move


class CacheMemory(Protocol):
    """Preallocated memory for the keys and values of a number of sequences, divided among caches row by row.

    Allocated once, since a CPU's page faults cost more than the writes; pages that are never written to cost nothing.
    The dtype may be smaller than the model's.
    """

    @property
    def layers(self) -> list[Tensor]:
        """Per layer, [sequences, ...]."""

    def filled(self, layer: int, length: int) -> Tensor:
        """A view of what the first `length` positions occupy, [sequences, ...]."""

    def attend(self, layer: int, first: int, position: int, qkv: Tensor, out: Tensor) -> None:
        """Append keys and values at a position of the sequences from `first` on, and attend to all positions up to it.

        qkv: [sequences, 3, heads, head_size]; out: [sequences, heads, head_size], which is written to.
        """


class TorchMemory:
    """`CacheMemory` with PyTorch's attention, for GPUs, in [sequences, max_length, heads, 2, head_size]."""

    def __init__(self, shape: Shape, sequences: int, max_length: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (sequences, max_length, shape.heads, 2, shape.head_size)
        self.layers = [torch.empty(size, dtype=dtype, device=device) for _ in range(shape.layers)]

    def filled(self, layer: int, length: int) -> Tensor:
        """See `CacheMemory`."""
        return self.layers[layer][:, :length]

    def attend(self, layer: int, first: int, position: int, qkv: Tensor, out: Tensor) -> None:
        """See `CacheMemory`; attention is in the memory's dtype."""
        rows = self.layers[layer][first : first + len(qkv)]
        qkv = qkv.to(rows.dtype)
        rows[:, position] = qkv[:, 1:].transpose(1, 2)
        keys, values = rows[:, : position + 1].permute(3, 0, 2, 1, 4)
        out[:] = F.scaled_dot_product_attention(qkv[:, 0, :, None], keys, values)[:, :, 0]


def cache_memory(
    shape: Shape, sequences: int, max_length: int, dtype: torch.dtype, device: torch.device
) -> CacheMemory:
    """The memory that fits the device."""
    if device.type == "cpu":
        return BlockedMemory(shape, sequences, max_length, dtype)
    return TorchMemory(shape, sequences, max_length, dtype, device)


class KVCache:
    """Keys and values of sequences at the same position, in the rows of a memory from `first` on.

    Attributes:
        length: positions that are filled.
        moved: rows that are copied at a time.
    """

    def __init__(self, memory: CacheMemory, first: int, sequences: int) -> None:
        self.memory = memory
        self.first = first
        self.sequences = sequences
        self.length = 0
        self.moved = max(1, round(len(memory.layers[0]) * MOVED))

    def __len__(self) -> int:
        return self.sequences

    def keep(self, rows: Tensor) -> None:
        """Keep the sequences with the ascending indices `rows`, drop the others, and free the last rows."""
        self._gather(self.first, self.first + rows)

    def move(self, first: int) -> None:
        """Move to the rows from `first` on, which is not above the present ones."""
        if first != self.first:
            device = self.memory.layers[0].device
            self._gather(first, torch.arange(self.first, self.first + self.sequences, device=device))

    def _gather(self, first: int, rows: Tensor) -> None:
        """Copy the memory's `rows`, ascending, to `first` and following; no row moves up."""
        for layer in range(len(self.memory.layers)):
            filled = self.memory.filled(layer, self.length)
            for begin in range(0, len(rows), self.moved):  # overwrites only rows that earlier chunks have copied
                some = rows[begin : begin + self.moved]
                filled[first + begin : first + begin + len(some)] = filled[some]
        self.first, self.sequences = first, len(rows)

    def attend(self, layer: int, qkv: Tensor, out: Tensor) -> None:
        """Append one position's keys and values, and attend to all positions up to it; see `CacheMemory.attend`."""
        self.memory.attend(layer, self.first, self.length, qkv, out)
