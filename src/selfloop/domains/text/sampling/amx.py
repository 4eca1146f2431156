"""Decoding in bfloat16 on processors with AMX: all between one layer's attention and the next is one kernel."""

import math
from threading import local
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfloop.domains.text.kernels.cpu.amx import COLUMNS, DEPTH, PANEL, ROWS, has_amx
from selfloop.domains.text.kernels.cpu.head import drawn, scratch_size
from selfloop.domains.text.kernels.cpu.layer import between
from selfloop.domains.text.model.network import Attend, Block, Transformer, rotate


def fits_tiles(model: Transformer) -> bool:
    """Whether this processor has tiles, and the model's dtype and sizes are theirs."""
    weights, shape = model.embedding.weight, model.shape
    if weights.device.type != "cpu" or weights.dtype != torch.bfloat16:
        return False
    return shape.hidden_size % DEPTH == 0 and shape.intermediate_size % DEPTH == 0 and has_amx()


class TiledDecoder:
    """`Transformer.decode` by `layer.between`, equal up to rounding, and the choice of tokens. Threads may share it.

    Args:
        model: one that `fits_tiles`.
        tokens: ids from this one on are never drawn; None for no limit.
    """

    def __init__(self, model: Transformer, tokens: int | None = None) -> None:
        self.shape = model.shape
        self.embedding, self.positions, self.rotation = model.embedding, model.positions, model.rotation
        self.columns = -(-self.shape.vocabulary // COLUMNS) * COLUMNS  # of logits
        blocks = [block for block in model.blocks if isinstance(block, Block)]
        packed = _Packed()
        for number, block in enumerate(blocks):
            packed.begin()
            if number > 0:
                packed.feed_forward(blocks[number - 1])
            packed.norm(block.attention_norm)
            packed.matrix(block.qkv.weight, block.qkv.bias)
        packed.begin()
        packed.feed_forward(blocks[-1])
        packed.norm(model.norm)
        self._head = 2 * packed.numbers_since_begin()  # bytes before it
        packed.matrix(F.pad(model.head_weight, (0, 0, 0, self.columns - self.shape.vocabulary)), None)
        self._mask = torch.zeros(self.columns)
        self._mask[self.shape.vocabulary if tokens is None else tokens :] = -math.inf
        self._matrices, self._vectors = torch.cat(packed.matrices), torch.cat(packed.vectors)
        self._addresses = [
            (self._matrices[matrix:].data_ptr(), self._vectors[vector:].data_ptr()) for matrix, vector in packed.begins
        ]
        self._kernel = between(self.shape.hidden_size, self.shape.intermediate_size, self.shape.architecture)
        self._of_thread = local()

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """See `Transformer.decode`."""
        memory, panels = self._attended(ids, positions, attend)
        logits = memory.x.new_empty(panels * PANEL, self.columns)
        self._run(-1, memory._replace(qkv=logits), panels, self.columns)
        return logits[: len(ids), : self.shape.vocabulary]

    def draw(self, ids: Tensor, positions: Tensor, attend: Attend, uniforms: Tensor, temperature: float) -> Tensor:
        """The next token of each sequence, int64, by inverse transform at one of `uniforms`; no logits are written.

        Arguments as of `Transformer.decode` and `choice.draw`.
        """
        memory, panels = self._attended(ids, positions, attend)
        self._run(-1, memory, panels, 0)
        chosen = torch.empty(panels * PANEL, dtype=torch.int64)
        padded = F.pad(uniforms, (0, len(chosen) - len(uniforms)))
        heat = torch.tensor([temperature], dtype=torch.float32)
        used = (self._mask, padded, heat, chosen, memory.scratch)
        head = self._addresses[-1][0] + self._head
        kernel = drawn(self.shape.hidden_size)
        kernel(memory.normed.data_ptr(), head, *(given.data_ptr() for given in used), panels, self.columns)
        return chosen[: len(ids)]

    def _attended(self, ids: Tensor, positions: Tensor, attend: Attend) -> tuple["_Memory", int]:
        """A step up to the last layer's attention; this thread's memory, and panels of it that are used."""
        shape, rows = self.shape, len(ids)
        memory, panels = self._memory(rows), -(-rows // PANEL)
        x = memory.x[:rows]
        x[:] = self.embedding(ids)
        if self.positions is not None:
            x += self.positions(positions)
        rotation = None if self.rotation is None else self.rotation[:, positions, None, None].to(x.dtype)
        qkv = memory.qkv[:rows].view(rows, 3, shape.heads, shape.head_size)
        mixed = memory.mixed[:rows].view(rows, shape.heads, shape.head_size)
        for layer in range(shape.layers):
            self._run(layer, memory, panels, 3 * shape.hidden_size)
            if rotation is not None:
                qkv[:, :2] = rotate(qkv[:, :2], rotation)
            attend(layer, qkv, mixed)
        return memory, panels

    def _run(self, layer: int, memory: "_Memory", panels: int, outputs: int) -> None:
        """The kernel before a layer's attention, or of the last layer after it."""
        own = (part.data_ptr() for part in memory[:5])
        self._kernel(*own, *self._addresses[layer], panels, outputs, layer != 0)

    def _memory(self, rows: int) -> "_Memory":
        """This thread's, for at least this many rows."""
        memory: _Memory | None = getattr(self._of_thread, "memory", None)
        if memory is None or len(memory.x) < rows:
            hidden, padded = self.shape.hidden_size, -(-rows // PANEL) * PANEL

            def zeros(width: int) -> Tensor:
                return torch.zeros(padded, width, dtype=torch.bfloat16)

            fed, qkv = zeros(self.shape.intermediate_size), zeros(3 * hidden)
            scratch = torch.empty(scratch_size(self.columns, padded))
            memory = _Memory(zeros(hidden), zeros(hidden), zeros(hidden), fed, qkv, scratch)
            self._of_thread.memory = memory
        return memory


class _Memory(NamedTuple):
    """Activations, bfloat16 [rows, ...], and what `head.drawn` needs.

    The rows of the last panel that hold no document are computed, too.
    """

    x: Tensor
    mixed: Tensor
    normed: Tensor
    fed: Tensor
    qkv: Tensor
    scratch: Tensor


class _Packed:
    """Parameters in the order in which kernels use them, and where those of each kernel begin."""

    def __init__(self) -> None:
        self.matrices: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.begins: list[tuple[int, int]] = []

    def begin(self) -> None:
        """Those of another kernel follow."""
        self.begins.append((sum(map(len, self.matrices)), sum(map(len, self.vectors))))

    def numbers_since_begin(self) -> int:
        """Numbers of the matrices of the last kernel."""
        return sum(map(len, self.matrices)) - self.begins[-1][0]

    def feed_forward(self, block: Block) -> None:
        """What follows attention in a block."""
        self.matrix(block.attention_out.weight, block.attention_out.bias)
        self.norm(block.feed_norm)
        if block.activation == "swiglu":
            self.matrices.append(tiles_of(_interleaved(block.feed_in.weight)))
        else:
            self.matrix(block.feed_in.weight, block.feed_in.bias)
        self.matrix(block.feed_out.weight, block.feed_out.bias)

    def norm(self, norm: nn.Module) -> None:
        """LayerNorm or RMSNorm."""
        assert isinstance(norm, nn.LayerNorm | nn.RMSNorm)
        self._vector(norm.weight, len(norm.weight))
        self._vector(getattr(norm, "bias", None), len(norm.weight))

    def matrix(self, weight: Tensor, bias: Tensor | None) -> None:
        """A linear layer."""
        self.matrices.append(tiles_of(weight))
        self._vector(bias, len(weight))

    def _vector(self, vector: Tensor | None, size: int) -> None:
        self.vectors.append(torch.zeros(size) if vector is None else vector.detach().float())


def tiles_of(weight: Tensor) -> Tensor:
    """Weights [outputs, inputs] as AMX multiplies them, flat: tiles of 16 outputs by 32 inputs, of pairs of inputs."""
    outputs, inputs = weight.shape
    tiled = weight.detach().view(outputs // ROWS, ROWS, inputs // DEPTH, DEPTH // 2, 2)
    return tiled.permute(0, 2, 3, 1, 4).reshape(-1)


def _interleaved(weight: Tensor) -> Tensor:
    """Gate projection, then up projection, as 16 outputs of each in turn."""
    gate_and_up = weight.detach().view(2, -1, ROWS, weight.shape[1])
    return gate_and_up.transpose(0, 1).reshape(weight.shape)
