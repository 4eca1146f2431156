"""GeoDiff's training against a direct implementation: steps per second, same model, batches and cores, in one run.

    python benchmarks/molecule_training.py [--threads 1] [--batch 16] [--hidden 128]

The direct way (tests/reference) goes through a batch molecule by molecule: it builds each one's graph
from its bonds at every step, has an edge for each direction, and runs the network on that molecule alone. The fast way
builds graphs once per molecule, takes only the radius part at each step, and runs the network on all molecules of the
batch, over unordered pairs. Both compute the same loss and gradient, which is checked first; both then take whole
optimizer steps, the direct way with torch's Adam, the fast way with this workflow's. Rounds alternate, and the ratio
is of the medians of CPU times, which other load affects less than wall-clock. A third row is the fast way with every
graph rebuilt in every step, which shows what building them once saves.

Takes about two minutes. On a GPU, it prints conformations per second, and the model's share of a step's time (the rest
builds the batch).
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfloop.domains.molecule.config import Data, Model, Training
from selfloop.domains.molecule.data.chemistry import LeftOut
from selfloop.domains.molecule.data.conformations import SCHEMA, Conformations
from selfloop.domains.molecule.data.graph import build_batch, build_graph
from selfloop.domains.molecule.model.network import GeoDiff, build
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.steps import prepare_data
from selfloop.domains.molecule.steps.train import ConformationTask, NoisyBatch
from selfloop.processor import processor
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.optimizer import FlatWeights, Optimizer

sys.path.append(str(Path(__file__).parents[1] / "tests/reference"))
from molecule_reference import direct_losses


def molecules(count: int) -> Conformations:
    """rdkit's molecules of at most 50 atoms, two conformers of each."""
    import pyarrow as pa

    data = Data(source="rdkit", molecules=count, test_molecules=1, conformers=2, rows=None, max_atoms=50)
    train, *_ = prepare_data.splits(data, LeftOut())
    rows = [
        {
            "name": each.name,
            "smiles": each.smiles,
            "atomic_numbers": each.atomic_numbers.tolist(),
            "bonds": each.bonds.tolist(),
            "coordinates": each.coordinates.tolist(),
        }
        for each in prepare_data.conformations(train)
    ]
    return Conformations.of(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches(), "benchmark")


class Direct:
    """The direct way's loss of the batch of a step."""

    def __init__(self, task: ConformationTask, model: GeoDiff) -> None:
        self.task, self.model = task, model

    def loss(self, step: int) -> Tensor:
        """Molecule by molecule."""
        batch, data = self.task.batch(step), self.task.train
        rows = self.task.rows(step)
        sizes = [int(data.bounds[row + 1] - data.bounds[row]) for row in rows]
        remote, local = direct_losses(
            self.model,
            list(torch.split(batch.molecules.atomic_numbers, sizes)),
            [torch.from_numpy(data[int(row)].bonds) for row in rows],
            list(torch.split(batch.positions, sizes)),
            batch.levels,
            list(torch.split(batch.noise, sizes)),
        )
        return (remote + local) / len(batch.positions)


def rebuilt(task: ConformationTask, step: int) -> NoisyBatch:
    """The batch of a step with every graph rebuilt."""
    batch, data = task.batch(step), task.train
    rows = [int(row) for row in task.rows(step)]
    graphs = [build_graph(len(data[row].atomic_numbers), data[row].bonds) for row in rows]
    numbers = np.concatenate([data[row].atomic_numbers for row in rows])
    return batch._replace(molecules=build_batch(graphs, numbers))


def cpu_seconds(call: Callable[[int], object], steps: range) -> float:
    """CPU seconds per step, on a GPU wall-clock seconds."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    begin = clock()
    for step in steps:
        call(step)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - begin) / len(steps)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="GeoDiff's training against a direct implementation.")
    for name, default in (
        ("threads", 1),
        ("molecules", 64),
        ("batch", 16),
        ("hidden", 128),
        ("steps", 6),
        ("rounds", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = Model(hidden_size=arguments.hidden)
    model = build(config, 0)
    data = molecules(arguments.molecules)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task = ConformationTask(data, data, sigmas(config), 10**6, arguments.batch, 1, torch.device("cpu"))
    direct = Direct(task, model)

    ours, theirs = task.loss(model, task.batch(0)), direct.loss(0)
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in (ours, theirs)]
    off = max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in zip(*gradients, strict=True))
    print(processor())
    print(f"loss {ours.item():.4f} and {theirs.item():.4f}; gradients differ by at most {off:.1e} of their norm")

    if device.type == "cpu":
        direct.model = copy.deepcopy(model)
    adam = torch.optim.Adam(direct.model.parameters(), lr=1e-5)
    own = Optimizer(FlatWeights(model.to(device), torch.float32), OptimizerConfig.of(Training(beta1=0.9)))

    def stepping(loss: Callable[[int], Tensor]) -> Callable[[int], None]:
        def step(number: int) -> None:
            own.weights.backward(loss(number))
            own.step(1e-5)

        return step

    def direct_step(number: int) -> None:
        adam.zero_grad()
        direct.loss(number).backward()
        adam.step()

    if device.type == "cuda":
        task = ConformationTask(data, data, sigmas(config), 10**6, arguments.batch, 1, device)
        call = stepping(lambda number: task.loss(model, task.batch(number)))
        cpu_seconds(call, range(20))
        whole = cpu_seconds(call, range(200))
        batches = cpu_seconds(lambda number: len(task.batch(number)), range(200))
        print(
            f"GPU: {arguments.batch / whole:,.0f} conformations/s; {1 - batches / whole:.0%} of the time in the model"
        )
        return

    ways = {
        "direct, molecule by molecule": direct_step,
        "graphs built in every step": stepping(lambda number: task.loss(model, rebuilt(task, number))),
        "this workflow": stepping(lambda number: task.loss(model, task.batch(number))),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call(0)
    for turn in range(arguments.rounds):
        steps = range(turn * arguments.steps, (turn + 1) * arguments.steps)
        for name, call in ways.items():
            times[name].append(cpu_seconds(call, steps))
    best = statistics.median(times["this workflow"])
    print(
        f"{data.bounds[-1] / len(data):.1f} atoms per molecule, batch {arguments.batch}, {arguments.threads} thread(s)"
    )
    print(f"{'way':<30} {'ms of CPU per step':>19} {'steps per CPU second':>21} {'this workflow is faster by':>27}")
    for name, each in times.items():
        middle = statistics.median(each)
        print(f"{name:<30} {middle * 1e3:>19.1f} {1 / middle:>21.2f} {middle / best:>26.2f}x")


if __name__ == "__main__":
    main()
