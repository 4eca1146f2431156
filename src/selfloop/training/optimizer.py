"""A model's weights as one flat tensor, and AdamW on it.

Small models are bound by per-operation overhead, so parameters, gradients and optimizer state are one flat tensor each:
gradient clipping, the update, the cast to bfloat16 and the all-reduce are a handful of operations for any number of
layers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.triton_available import triton_runs_on

EPSILON = 1e-8  # of AdamW
BLOCK = 1024  # weights that a GPU's program updates


class FlatWeights:
    """Float32 master weights of a model in one tensor, and the copy in the compute dtype that the model runs on.

    Matrices come first: weight decay applies to them alone.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        for parameter in model.parameters():
            if not parameter.requires_grad:  # frozen: it has no master weights
                parameter.data = parameter.data.to(dtype)
        trained = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
        named = sorted(trained, key=lambda item: item[1].dim() < 2)
        self.names = [name for name, _ in named]
        self.sizes = [parameter.shape for _, parameter in named]
        self.master = torch.cat([parameter.detach().float().flatten() for _, parameter in named])
        self.matrices = sum(parameter.numel() for _, parameter in named if parameter.dim() >= 2)
        self.compute = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.gradient = torch.zeros_like(self.compute)
        self._parameters = [parameter for _, parameter in named]
        self._gradients = self._views(self.gradient)
        for parameter, weights in zip(self._parameters, self._views(self.compute), strict=True):
            parameter.data = weights

    def backward(self, loss: Tensor, add: bool = False) -> None:
        """Write the gradient of a scalar, or add it to what is there.

        One operation for all parameters: accumulating each into its own `grad` takes as many launches as there are.
        """
        found = torch.autograd.grad(loss, self._parameters, materialize_grads=True)
        (torch._foreach_add_ if add else torch._foreach_copy_)(self._gradients, found)

    def _views(self, flat: Tensor) -> list[Tensor]:
        pieces = torch.split(flat, [size.numel() for size in self.sizes])
        return [piece.view(size) for piece, size in zip(pieces, self.sizes, strict=True)]

    def refresh(self) -> None:
        """Copy the master weights to the compute weights."""
        if self.compute is not self.master:
            self.compute.copy_(self.master)

    def by_name(self) -> dict[str, Tensor]:
        """Master weights by parameter name, on the CPU."""
        return {
            name: view.detach().cpu().clone() for name, view in zip(self.names, self._views(self.master), strict=True)
        }


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) on flat weights, with gradient clipping by norm.

    It calls torch's fused kernel directly. `torch.optim.AdamW(fused=True)` on the same two tensors is bit-equal, but
    its constructor imports torch._dynamo (1 to 3 s in every training job, more than a small training takes), and its
    step adds 0.1 to 0.2 ms on a CPU.
    """

    def __init__(self, weights: FlatWeights, config: OptimizerConfig, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.weights = weights
        self.config = config
        self.group = group
        self.first_moment = torch.zeros_like(weights.master)
        self.second_moment = torch.zeros_like(weights.master)
        # Step counts of the two parameter groups: matrices, which decay, and the rest, which does not.
        self.counts = [torch.zeros((), device=weights.master.device) for _ in range(2)]
        self.steps = 0  # the same, on the host

    def step(self, learning_rate: float) -> None:
        """All-reduce the gradient, clip it, and update the weights."""
        self.steps += 1
        if triton_runs_on(self.weights.master.device):
            self._step_in_triton(learning_rate)
        else:
            self._step_in_torch(learning_rate)

    def _step_in_triton(self, learning_rate: float) -> None:
        """A third of the memory traffic: the gradient is read as it is, and all else once."""
        from selfloop.training import triton_adamw  # Triton is not on all machines

        gradient, config, master = self.weights.gradient, self.config, self.weights.master
        if self.group.size > 1:
            gradient = gradient.float()
            self.group.all_reduce(gradient)
        norm = torch.linalg.vector_norm(gradient, dtype=torch.float32)
        torch._foreach_add_(self.counts, 1)
        corrections = 1 - config.beta1**self.steps, 1 - config.beta2**self.steps
        triton_adamw.adamw[(-(-len(master) // BLOCK),)](
            master,
            gradient,
            self.first_moment,
            self.second_moment,
            self.weights.compute,
            norm,
            len(master),
            self.weights.matrices,
            learning_rate,
            config.weight_decay,
            config.clip,
            config.beta1,
            config.beta2,
            *corrections,
            EPSILON,
            COPY=self.weights.compute is not master,
            BLOCK=BLOCK,
        )

    def _step_in_torch(self, learning_rate: float) -> None:
        gradient = self.weights.gradient.float()
        self.group.all_reduce(gradient)
        norm = torch.linalg.vector_norm(gradient)
        gradient *= (self.config.clip / (norm + 1e-6)).clamp(max=1.0)
        parts = [self.weights.matrices, len(gradient) - self.weights.matrices]
        tensors = (self.weights.master, gradient, self.first_moment, self.second_moment)
        pieces = zip(*(torch.split(tensor, parts) for tensor in tensors), strict=True)
        decays = (self.config.weight_decay, 0.0)
        for (weights, gradients, first, second), count, decay in zip(pieces, self.counts, decays, strict=True):
            count += 1
            torch._fused_adamw_(
                [weights],
                [gradients],
                [first],
                [second],
                [],
                [count],
                lr=learning_rate,
                beta1=self.config.beta1,
                beta2=self.config.beta2,
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
        self.weights.refresh()

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state, master weights included."""
        named = {"master": self.weights.master, "first_moment": self.first_moment, "second_moment": self.second_moment}
        return named | {f"count.{index}": count for index, count in enumerate(self.counts)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors()` returned."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.steps = int(self.counts[0])
        self.weights.refresh()
