"""Operations of torch that a step launches, and those for which the host waits for the device."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.sampling.lanes import Decoder, lane_sizes
from selfloop.training.loop import Batch, Task
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.optimizer import FlatWeights, Optimizer

# What needs a value of the device on the host.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique_dim", "_unique2", "equal")


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, operations are counted by name: each but views and empty tensors is about one launch of a kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: OpOverload[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Count and run an operation."""
        name = func.overloadpacket.__name__
        if name.startswith("index") and any(index.dtype == torch.bool for index in _indices(args)):
            self.counts["nonzero"] += 1
        if not _is_free(func):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def waits(self) -> dict[str, int]:
        """Those that wait for the device."""
        return {name: count for name, count in self.counts.items() if name in WAITS}


def _indices(args: Sequence[object]) -> Sequence[torch.Tensor]:
    """The indices of `index` and `index_put`; a mask among them is turned into numbers, which the host waits for."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return [index for index in indices if isinstance(index, torch.Tensor)]


def _is_free(func: OpOverload[..., object]) -> bool:
    """Whether an operation launches nothing: a view, an allocation, a look at a shape."""
    returns = func._schema.returns
    views = any(each.alias_info is not None and not each.alias_info.is_write for each in returns)
    name = func.overloadpacket.__name__
    return views or name.startswith(("empty", "new_empty", "detach", "sym_", "_unsafe_view", "lift_fresh"))


def of_training_step(model: nn.Module, task: Task[Batch], dtype: torch.dtype = torch.bfloat16) -> Launches:
    """What the training loop launches in one step, its batch included."""
    weights = FlatWeights(model, dtype)
    optimizer = Optimizer(weights, OptimizerConfig(1e-4, 0.1, 0.9, 0.95, 1.0, 1, "auto"))
    losses = torch.zeros((), dtype=torch.float64, device=weights.master.device)
    launches = Launches()
    with launches:
        batch = task.batch(0)
        loss = task.loss(model, batch)
        weights.backward(loss)
        losses += loss.detach().double()
        optimizer.step(1e-4)
        task.size(batch)
    return launches


@torch.inference_mode()
def of_sampling_step(model: Transformer, rows: int) -> Launches:
    """What a step of sampling in lanes launches, with a document in each row of the first lane."""
    sizes = lane_sizes(rows, model.shape.context)
    decoder = Decoder(model, Sampling(), 1, sizes, next(model.parameters()).dtype, None)
    decoder.allocate(len(sizes))
    prompts = torch.zeros((rows, 1), dtype=torch.int64, device=decoder.device)
    decoder.begin(np.arange(rows), prompts, torch.rand(rows, decoder.longest))
    launches = Launches()
    with launches:
        decoder.step(len(sizes))
    return launches
