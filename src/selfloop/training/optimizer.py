"""A model's weights as one flat tensor, and AdamW on it.

Small models are bound by per-operation overhead, so parameters, gradients and optimizer state are each one flat tensor:
clipping, the optimizer, the cast to bfloat16 and the sum over processes are a handful of operations, whatever the
number of layers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from selfloop.training.distributed import ALONE, Group
from selfloop.training.lr_schedule import Schedule


class FlatWeights:
    """All parameters of a model in one float32 tensor, with a copy in the compute format that the model runs on.

    Matrices come first, since weight decay applies to them alone.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        named = sorted(model.named_parameters(), key=lambda item: item[1].dim() < 2)
        self.names = [name for name, _ in named]
        self.sizes = [parameter.shape for _, parameter in named]
        self.master = torch.cat([parameter.detach().float().flatten() for _, parameter in named])
        self.matrices = sum(parameter.numel() for _, parameter in named if parameter.dim() >= 2)
        self.compute = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.gradient = torch.zeros_like(self.compute)
        for (_, parameter), weights, gradient in zip(
            named, self._views(self.compute), self._views(self.gradient), strict=True
        ):
            parameter.data = weights
            parameter.grad = gradient

    def _views(self, flat: Tensor) -> list[Tensor]:
        pieces = torch.split(flat, [size.numel() for size in self.sizes])
        return [piece.view(size) for piece, size in zip(pieces, self.sizes, strict=True)]

    def refresh(self) -> None:
        """Bring the compute copy up to date."""
        if self.compute is not self.master:
            self.compute.copy_(self.master)

    def by_name(self) -> dict[str, Tensor]:
        """Float32 weights by parameter name, on the CPU."""
        return {
            name: view.detach().cpu().clone() for name, view in zip(self.names, self._views(self.master), strict=True)
        }


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) on flat weights, with clipping of the gradient's norm.

    It calls torch's fused kernel itself: the class `torch.optim.AdamW` takes a second to import.
    """

    def __init__(self, weights: FlatWeights, schedule: Schedule, group: Group = ALONE) -> None:
        self.weights = weights
        self.schedule = schedule
        self.group = group
        self.first_moment = torch.zeros_like(weights.master)
        self.second_moment = torch.zeros_like(weights.master)
        # One count per part of the weights: matrices, which decay, and the rest, which does not.
        self.counts = [torch.zeros((), device=weights.master.device) for _ in range(2)]

    def step(self, rate: float) -> None:
        """Sum the gradient over the processes, clip, update, and clear the gradient."""
        gradient = self.weights.gradient.float()
        self.group.add(gradient)
        norm = torch.linalg.vector_norm(gradient)
        gradient *= (self.schedule.clip / (norm + 1e-6)).clamp(max=1.0)
        parts = [self.weights.matrices, len(gradient) - self.weights.matrices]
        tensors = (self.weights.master, gradient, self.first_moment, self.second_moment)
        pieces = zip(*(torch.split(tensor, parts) for tensor in tensors), strict=True)
        decays = (self.schedule.weight_decay, 0.0)
        for (weights, gradients, first, second), count, decay in zip(pieces, self.counts, decays, strict=True):
            count += 1
            torch._fused_adamw_(
                [weights],
                [gradients],
                [first],
                [second],
                [],
                [count],
                lr=rate,
                beta1=self.schedule.beta1,
                beta2=self.schedule.beta2,
                weight_decay=decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )
        self.weights.gradient.zero_()
        self.weights.refresh()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""
        named = {"master": self.weights.master, "first_moment": self.first_moment, "second_moment": self.second_moment}
        return named | {f"count.{place}": count for place, count in enumerate(self.counts)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors()` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.weights.refresh()
