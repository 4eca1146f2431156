"""Prepacked oneDNN linear layers for inference on CPUs.

oneDNN, which ships with torch, otherwise reorders a weight matrix at every product; it also fuses bias, activation and
the addition to the residual stream. torch.compile calls the same operators, but needs a C++ compiler.
"""

import torch
from torch import Tensor, nn

from selfloop.domains.text.model.network import Block, Linear, Transformer

# oneDNN's names of the activations; of swiglu, that of the gate.
ONEDNN = {None: "none", "gelu": "gelu", "swiglu": "swish"}


def pack(model: Transformer, rows: int) -> None:
    """Prepack all matrices of a model that oneDNN can pack, for products with about `rows` rows.

    The model can then neither be trained nor saved. With AVX-512, float32 rows of these products had the same bits in
    any batch and on any number of threads; those of torch's products had not.
    """
    for block in model.blocks:
        assert isinstance(block, Block)
        for name, linear in list(block.named_children()):
            if isinstance(linear, Linear):
                activation = block.activation if name == "feed_in" else None
                setattr(block, name, PackedLinear(linear.weight, linear.bias, activation, rows))
    model.head = PackedLinear(model.head_weight, None, None, rows)


def can_pack(weights: Tensor) -> bool:
    """Whether oneDNN supports the device and dtype."""
    if weights.device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    if weights.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weights.dtype == torch.float32


class PackedLinear(nn.Module):
    """`network.Linear` prepacked for products with about `rows` rows and one of `network.ACTIVATIONS`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None, rows: int) -> None:
        super().__init__()
        # Gate and up projection are separate products.
        halves = 2 if activation == "swiglu" else 1
        weights = weight.detach().chunk(halves)
        self.weights = [torch.ops.mkldnn._reorder_linear_weight(part.contiguous(), rows) for part in weights]
        self.biases = [None] * halves if bias is None else bias.detach().chunk(halves)

    def forward(self, x: Tensor, activation: str | None = None, residual: Tensor | None = None) -> Tensor:
        """Equal to `network.Linear` up to rounding. x: [rows, inputs]; residual: [rows, outputs]."""
        if residual is not None:
            added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                x, residual, self.weights[0], self.biases[0], "add"
            )
            return added
        product = self._product(x, 0, ONEDNN[activation])
        return product * self._product(x, 1, "none") if activation == "swiglu" else product

    def _product(self, x: Tensor, half: int, operation: str) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weights[half], self.biases[half], operation, [], "tanh" if operation == "gelu" else ""
        )
        return product
