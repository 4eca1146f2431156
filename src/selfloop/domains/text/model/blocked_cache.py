"""The KV cache's memory on CPUs."""

import math

import numpy as np
import torch
from torch import Tensor

from selfloop.domains.text.kernels.cpu.attention import attention, block_size, scratch_size, streams_of
from selfloop.domains.text.kernels.cpu.code import CACHE_LINE, LANES
from selfloop.domains.text.model.shape import Shape

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class BlockedMemory:
    """`kv_cache.CacheMemory` in the layout of `kernels.attention`, [blocks, sequences, heads, block_size].

    Attention is in float32, whatever the dtype.
    """

    def __init__(self, shape: Shape, sequences: int, max_length: int, dtype: torch.dtype) -> None:
        size = (_blocks(max_length), sequences, shape.heads, block_size(shape.head_size))
        self._blocks = [_in_large_pages(size, dtype) for _ in range(shape.layers)]
        self.layers = [blocks.transpose(0, 1) for blocks in self._blocks]
        self._dtype = NAMES[dtype]
        self._addresses = [blocks.data_ptr() for blocks in self._blocks]
        self._apart, sequence = self._blocks[0].stride()[:2]
        self._per_sequence = sequence * dtype.itemsize
        self._scratch = torch.empty(scratch_size(shape.head_size, max_length))

    def filled(self, layer: int, length: int) -> Tensor:
        """See `kv_cache.CacheMemory`."""
        return self.layers[layer][:, : _blocks(length)]

    def attend(self, layer: int, first: int, position: int, qkv: Tensor, out: Tensor) -> None:
        """See `kv_cache.CacheMemory`."""
        sequences, _, heads, head_size = qkv.shape
        streams = streams_of(head_size, self._dtype, position + 1)
        kernel = attention(head_size, NAMES[qkv.dtype], self._dtype, streams)
        cache = self._addresses[layer] + first * self._per_sequence
        kernel(qkv.data_ptr(), cache, out.data_ptr(), self._scratch.data_ptr(), sequences, heads, position, self._apart)


def _in_large_pages(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Uninitialised memory in pages of 2 MB where Linux has them: NumPy asks for them, and torch does not.

    Each page of 4 KB holds two blocks or so, and to look up where it is takes about as long as to read them. It begins
    with a cache line, as NumPy's arrays do not: a vector in two lines takes two reads.
    """
    same_size = {2: np.int16, 4: np.float32}[dtype.itemsize]
    memory = np.empty(math.prod(size) + CACHE_LINE // dtype.itemsize, same_size)
    begin = -memory.ctypes.data % CACHE_LINE // dtype.itemsize
    return torch.from_numpy(memory[begin : begin + math.prod(size)].reshape(size)).view(dtype)


def _blocks(positions: int) -> int:
    """Number of blocks for this many positions."""
    return -(-positions // LANES)
