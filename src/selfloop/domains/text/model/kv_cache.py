"""KV cache."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.model.shape import Shape

MOVED = 1 / 8  # fraction of the memory's rows that are copied at a time when sequences move


class CacheMemory:
    """Preallocated memory for the keys and values of a number of sequences, divided among caches row by row.

    One tensor per layer, [sequences, max_length, heads, 2, head_size]: what a position adds to a sequence is
    contiguous, and so are a head's key and value. On a CPU, where sampling is memory-bound, that is faster than one
    tensor of keys and one of values by head. Allocated once, since a CPU's page faults cost more than the writes; pages
    that are never written to cost nothing. The dtype may be smaller than the model's: attention runs in it.
    """

    def __init__(self, shape: Shape, sequences: int, max_length: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (sequences, max_length, shape.heads, 2, shape.head_size)
        self.layers = [torch.empty(size, dtype=dtype, device=device) for _ in range(shape.layers)]
        self.moved = max(1, round(sequences * MOVED))

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.layers[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of keys and values."""
        return self.layers[0].dtype


class KVCache:
    """Keys and values of sequences at the same position, in the rows of a memory from `first` on.

    Attributes:
        length: positions that are filled.
    """

    def __init__(self, memory: CacheMemory, first: int, sequences: int) -> None:
        self.memory = memory
        self.first = first
        self.sequences = sequences
        self.length = 0

    def __len__(self) -> int:
        return self.sequences

    def keep(self, rows: Tensor) -> None:
        """Keep the sequences with the ascending indices `rows`, drop the others, and free the last rows."""
        self._gather(self.first, self.first + rows)

    def move(self, first: int) -> None:
        """Move to the rows from `first` on, which is not above the present ones."""
        if first != self.first:
            self._gather(first, torch.arange(self.first, self.first + self.sequences, device=self.memory.device))

    def _gather(self, first: int, rows: Tensor) -> None:
        """Copy the memory's `rows`, ascending, to `first` and following; no row moves up."""
        size = self.memory.moved
        for layer in self.memory.layers:
            for begin in range(0, len(rows), size):  # overwrites only rows that earlier chunks have copied
                some = rows[begin : begin + size]
                layer[first + begin : first + begin + len(some), : self.length] = layer[some, : self.length]
        self.first, self.sequences = first, len(rows)

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """Append one position's keys and values, and attend to all positions up to it.

        qkv: [sequences, 3, heads, head_size] in the memory's dtype; returns [sequences, heads, head_size].
        """
        rows = self.memory.layers[layer][self.first : self.first + self.sequences]
        rows[:, self.length] = qkv[:, 1:].transpose(1, 2)
        keys, values = rows[:, : self.length + 1].permute(3, 0, 2, 1, 4)
        return F.scaled_dot_product_attention(qkv[:, 0, :, None], keys, values)[:, :, 0]
