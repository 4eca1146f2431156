"""Decoding in bfloat16 on processors with AMX: all between one layer's attention and the next is one kernel."""

from threading import local
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfloop.domains.text.kernels.cpu.amx import COLUMNS, DEPTH, PANEL, ROWS, has_amx
from selfloop.domains.text.kernels.cpu.layer import between
from selfloop.domains.text.model.network import Attend, Block, Transformer, rotate


def fits_tiles(model: Transformer) -> bool:
    """Whether this processor has tiles, and the model's dtype and sizes are theirs."""
    weights, shape = model.embedding.weight, model.shape
    if weights.device.type != "cpu" or weights.dtype != torch.bfloat16:
        return False
    return shape.hidden_size % DEPTH == 0 and shape.intermediate_size % DEPTH == 0 and has_amx()


class TiledDecoder:
    """`Transformer.decode` by `layer.between`, equal up to rounding. Threads may share it."""

    def __init__(self, model: Transformer) -> None:
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
        packed.matrix(F.pad(model.head_weight, (0, 0, 0, self.columns - self.shape.vocabulary)), None)
        self._matrices, self._vectors = torch.cat(packed.matrices), torch.cat(packed.vectors)
        self._addresses = [
            (self._matrices[matrix:].data_ptr(), self._vectors[vector:].data_ptr()) for matrix, vector in packed.begins
        ]
        self._kernel = between(self.shape.hidden_size, self.shape.intermediate_size, self.shape.architecture)
        self._of_thread = local()

    def __call__(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """See `Transformer.decode`."""
        shape, rows = self.shape, len(ids)
        memory = self._memory(rows)
        x = memory.x[:rows]
        x[:] = self.embedding(ids)
        if self.positions is not None:
            x += self.positions(positions)
        rotation = None if self.rotation is None else self.rotation[:, positions, None, None].to(x.dtype)
        qkv = memory.qkv[:rows].view(rows, 3, shape.heads, shape.head_size)
        mixed = memory.mixed[:rows].view(rows, shape.heads, shape.head_size)
        own = [part.data_ptr() for part in memory]
        panels = -(-rows // PANEL)
        for layer, addresses in enumerate(self._addresses[:-1]):
            self._kernel(*own, *addresses, panels, 3 * shape.hidden_size, layer > 0)
            if rotation is not None:
                qkv[:, :2] = rotate(qkv[:, :2], rotation)
            attend(layer, qkv, mixed)
        logits = x.new_empty(panels * PANEL, self.columns)
        self._kernel(*own[:-1], logits.data_ptr(), *self._addresses[-1], panels, self.columns, True)
        return logits[:rows, : shape.vocabulary]

    def _memory(self, rows: int) -> "_Memory":
        """This thread's, for so many rows or more."""
        memory: _Memory | None = getattr(self._of_thread, "memory", None)
        if memory is None or len(memory.x) < rows:
            hidden, padded = self.shape.hidden_size, -(-rows // PANEL) * PANEL
            widths = hidden, hidden, hidden, self.shape.intermediate_size, 3 * hidden
            memory = _Memory(*(torch.zeros(padded, width, dtype=torch.bfloat16) for width in widths))
            self._of_thread.memory = memory
        return memory


class _Memory(NamedTuple):
    """Activations, bfloat16 [rows, ...]; the rows of the last panel that hold no document are computed, too."""

    x: Tensor
    mixed: Tensor
    normed: Tensor
    fed: Tensor
    qkv: Tensor


class _Packed:
    """Parameters in the order in which kernels use them, and where those of each kernel begin."""

    def __init__(self) -> None:
        self.matrices: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.begins: list[tuple[int, int]] = []

    def begin(self) -> None:
        """Those of another kernel follow."""
        self.begins.append((sum(map(len, self.matrices)), sum(map(len, self.vectors))))

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
