"""Linear maps that lie as the processor's kernels read them, for models that are only sampled from.

oneDNN, which torch brings along, otherwise puts a matrix in order at every product. It also adds the bias and applies
the activation before a result leaves the processor's registers. torch.compile calls the same two operators, but needs
a C++ compiler for it.
"""

import torch
from torch import Tensor, nn

from selfloop.domains.text.model.network import Block, Linear, Transformer

# What oneDNN calls the activations, applied to the first half of a product whose second half is multiplied by it.
ONEDNN = {None: "none", "gelu": "gelu", "swiglu": "swish"}


def pack(model: Transformer, rows: int) -> None:
    """Lay out the blocks' matrices of a model on a CPU for products with about so many rows, if torch can do that here.

    The model can then be sampled from, and not be trained or saved.
    """
    if not can_pack(next(model.parameters())):
        return
    for block in model.blocks:
        assert isinstance(block, Block)
        for name, linear in list(block.named_children()):
            if isinstance(linear, Linear):
                activation = block.activation if name == "feed_in" else None
                setattr(block, name, PackedLinear(linear, activation, rows))


def can_pack(weights: Tensor) -> bool:
    """Whether torch has oneDNN here, for numbers of this format on this device."""
    if weights.device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    if weights.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weights.dtype == torch.float32


class PackedLinear(nn.Module):
    """`model.Linear`, laid out for products with about `rows` rows and for one activation of `model.ACTIVATIONS`."""

    def __init__(self, linear: Linear, activation: str | None, rows: int) -> None:
        super().__init__()
        # What is activated and what it is multiplied by become products of their own.
        halves = 2 if activation == "swiglu" else 1
        weights = linear.weight.detach().chunk(halves)
        self.weights = [torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows) for weight in weights]
        self.biases = [None] * halves if linear.bias is None else linear.bias.detach().chunk(halves)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """What `model.Linear` gives, to rounding. x: [rows, inputs]."""
        product = self._product(x, 0, ONEDNN[activation])
        return product * self._product(x, 1, "none") if activation == "swiglu" else product

    def _product(self, x: Tensor, half: int, operation: str) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weights[half], self.biases[half], operation, [], "tanh" if operation == "gelu" else ""
        )
        return product
