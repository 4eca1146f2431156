"""What GPUs need of the steps of all domains, seen without one: operations that are deterministic there, and tensors
that all lie on the model's device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from selfloop.domains.image import config as image
from selfloop.domains.image.model.loss import terms
from selfloop.domains.image.model.network import Shape
from selfloop.domains.image.model.network import build as build_autoencoder
from selfloop.domains.image.steps.train import ImageTask
from selfloop.domains.molecule import config as molecule
from selfloop.domains.molecule.data import graph
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import Conformations, read_conformations, write_conformations
from selfloop.domains.molecule.data.graph import Pairs, pairs_within
from selfloop.domains.molecule.model.network import build as build_geodiff
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.model.sampler import sample as sample_conformations
from selfloop.domains.molecule.steps.train import ConformationTask
from selfloop.domains.text import config as text
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.model import loss as language_loss
from selfloop.domains.text.model.batches import DocumentTask, Order
from selfloop.domains.text.model.kv_cache import KVCache, TorchMemory
from selfloop.domains.text.model.loss import Batch, summed_loss
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.network import build as build_transformer

CPU, META = torch.device("cpu"), torch.device("meta")
# Aten operations that raise an error on a GPU under torch.use_deterministic_algorithms(True), by that function's page;
# of cumsum only that of floats. Attention's backward pass has a deterministic version and takes it.
RAISE = {
    "_ctc_loss_backward", "_embedding_bag_backward", 
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "avg_pool3d_backward", "bincount", "cumsum", "cumsum_", "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward", "grid_sampler_2d_backward", "grid_sampler_3d_backward", "histc", "kthvalue",
    "max_pool3d_with_indices_backward", "max_unpool2d", "max_unpool3d", "median", "nll_loss2d_forward", "put", "put_",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
    "replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward", "scatter_reduce",
    "scatter_reduce_", "segment_reduce", "upsample_bicubic2d_backward", "upsample_bilinear2d_backward",
    "upsample_linear1d_backward", "upsample_trilinear3d_backward",
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Notes the names of all aten operations, but for those on integers."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, Tensor) or result.is_floating_point():
            self.names.add(func.overloadpacket.__name__)
        return result


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Conformations:
    """Two molecules with two conformers each."""
    rows = []
    for smiles in ("CCO", "c1ccccc1C(=O)N"):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMultipleConfs(mol, 2, randomSeed=7)
        rows += conformations_of(mol, smiles)
    folder = tmp_path_factory.mktemp("molecules") / "real"
    write_conformations(rows, folder)
    return read_conformations(folder)


GEODIFF = molecule.Model(hidden_size=8, global_layers=1, local_layers=1, cutoff=5.0, timesteps=20)
SHAPE = Shape(8, "gray", (4, 4), 4)


def transformer(architecture: Any) -> Transformer:
    model = text.Model(architecture=architecture, hidden_size=8, layers=2, heads=2, context=16, vocabulary=300)
    return build_transformer(model, 0)


def text_task(architecture: str) -> Callable[[Conformations], tuple[nn.Module, Any]]:
    def make(_: Conformations) -> tuple[nn.Module, Any]:
        rows = pa.record_batch({"input_ids": [[0, *range(1, 2 + row), 0] for row in range(8)]})
        documents = TokenStore.in_memory([rows], 16)
        order = Order(text.Training(batch_size=4), 4, 0)
        return transformer(architecture), DocumentTask(documents, documents, order, CPU)

    return make


def image_task(_: Conformations) -> tuple[nn.Module, Any]:
    images = np.random.default_rng(0).integers(0, 255, (9, 1, 8, 8), dtype=np.uint8)
    return build_autoencoder(SHAPE, 0), ImageTask(images, images, image.Training(batch_size=4), 4, "a", CPU)


def molecule_task(molecules: Conformations) -> tuple[nn.Module, Any]:
    return build_geodiff(GEODIFF, 0), ConformationTask(molecules, molecules, sigmas(GEODIFF), 2, 2, 0, CPU)


TASKS = {
    "gpt2": text_task("gpt2"),
    "llama": text_task("llama"),
    "image": image_task,
    "molecule": molecule_task,
}


@pytest.mark.parametrize("kind", TASKS)
def test_all_operations_of_a_training_and_its_evaluations_are_deterministic_on_a_gpu(
    kind: str, molecules: Conformations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_loss, "ignores_padding", lambda device: True)  # as on a GPU
    monkeypatch.setattr(graph, "has_few_shapes", lambda device: True)
    model, task = TASKS[kind](molecules)
    with Operations() as found:
        for step in range(2):
            torch.autograd.backward(task.loss(model, task.batch(step)))
        model.eval()
        task.evaluate(model)
    assert {"mm", "addmm", "convolution"} & found.names
    assert not found.names & RAISE


def test_so_are_those_that_sample_conformations(molecules: Conformations) -> None:
    model = build_geodiff(GEODIFF, 0).eval()
    with Operations() as found:
        sample_conformations(model, GEODIFF, molecule.Sampling(steps=2), molecules, range(4), "s")
    assert found.names and not found.names & RAISE


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_language_model_computes_on_the_device_of_its_weights_alone(architecture: str) -> None:
    """Tensors of the device "meta" have no values; an operation that mixes devices raises an error."""
    model = transformer(architecture).to(META)
    ids = torch.zeros(3, 9, dtype=torch.int64, device=META)
    summed_loss(model, Batch(ids, torch.zeros_like(ids), 27, None, ignores=True)).backward()
    assert all(parameter.grad is not None and parameter.grad.device == META for parameter in model.parameters())
    memory = TorchMemory(model.shape, 3, 16, torch.bfloat16, META)
    with torch.inference_mode():
        assert model.step(ids[:, 0], [KVCache(memory, 0, 3)]).device == META


def test_an_autoencoder_does() -> None:
    model = build_autoencoder(SHAPE, 0).to(META)
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8, device=META)
    error, divergence = terms(model, images, torch.zeros(3, 4, device=META))
    (error.sum() + divergence.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.device == META for parameter in model.parameters())


def test_geodiff_does(molecules: Conformations) -> None:
    """Its pairs are those of a CPU: which atoms are near depends on values."""
    model, task = molecule_task(molecules)
    batch = task.batch(0)
    pairs = pairs_within(batch.molecules, batch.positions, GEODIFF.cutoff)

    def moved(held: Any) -> Any:
        return type(held)(*(each.to(META) if isinstance(each, Tensor) else each for each in held))

    there: tuple[graph.Batch, Pairs] = moved(batch.molecules), moved(pairs)
    remote, local = model.to(META)(*there)
    (remote.sum() + local.sum()).backward()
    assert all(parameter.grad is None or parameter.grad.device == META for parameter in model.parameters())
