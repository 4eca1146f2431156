"""The KV cache of sampling."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.model.shape import Shape

MOVED = 1 / 8  # of the memory's rows, that are copied at a time when sequences move


class CacheMemory:
    """Memory for the keys and values of so many sequences, divided among caches row by row.

    One tensor per layer, [sequences, longest, heads, 2, head_size]. So what a position adds to a sequence is one piece
    of memory, and a head's key and value are neighbours when they are read: on a CPU, where sampling waits for memory,
    faster than a tensor of keys and one of values by head. It is asked for once, since a CPU gets new memory page by
    page, which takes longer than to write what goes into it; pages that nothing is written to cost nothing.

    The number format may be smaller than the model's: attention then runs in it.
    """

    def __init__(self, shape: Shape, sequences: int, longest: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (sequences, longest, shape.heads, 2, shape.head_size)
        self.layers = [torch.empty(size, dtype=dtype, device=device) for _ in range(shape.layers)]
        self.moved = max(1, round(sequences * MOVED))

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.layers[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of keys and values."""
        return self.layers[0].dtype


class Cache:
    """Keys and values of sequences that are all at the same position, in `sequences` rows of a memory from `first` on.

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
        """Keep the sequences at the places `rows`, which ascend, and drop the others: the last rows are free then."""
        self._gather(self.first, self.first + rows)

    def move(self, first: int) -> None:
        """Lie in the rows from `first` on, which must not lie behind those of now."""
        if first != self.first:
            self._gather(first, torch.arange(self.first, self.first + self.sequences, device=self.memory.device))

    def _gather(self, first: int, rows: Tensor) -> None:
        """Copy the memory's `rows`, ascending, to `first` and after it; none lies before the place that it goes to."""
        size = self.memory.moved
        for layer in self.memory.layers:
            for begin in range(0, len(rows), size):  # what a piece overwrites has been moved with the pieces before it
                some = rows[begin : begin + size]
                layer[first + begin : first + begin + len(some), : self.length] = layer[some, : self.length]
        self.first, self.sequences = first, len(rows)

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """Note one new position's keys and values, and attend to all up to it.

        qkv: [sequences, 3, heads, head_size] in the memory's number format; gives [sequences, heads, head_size].
        """
        mine = self.memory.layers[layer][self.first : self.first + self.sequences]
        mine[:, self.length] = qkv[:, 1:].transpose(1, 2)
        keys, values = mine[:, : self.length + 1].permute(3, 0, 2, 1, 4)
        return F.scaled_dot_product_attention(qkv[:, 0, :, None], keys, values)[:, :, 0]
