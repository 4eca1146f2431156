"""Two processes of one step, which meet by gloo on this machine: what they train and sample is what one does."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from safetensors.torch import load_file

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import write_conformations
from selfloop.jobs.execution import execute
from selfloop.jobs.spec import JobSpec

TAKE = {"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}


def images(folder: Path) -> None:
    """Nine spots."""
    grid = np.arange(8)
    with atomic_folder(folder) as scratch, ShardWriter(scratch, image_store.SCHEMA) as writer:
        for row in range(9):
            spot = 255 * np.exp(-((grid[:, None] - row % 8) ** 2 + (grid - row // 2) ** 2) / 4)
            data = image_store.encode_png(spot[None, None].astype(np.uint8))[0]
            writer.append({"image": {"bytes": data}, "row": row, "iteration": 0, "part": 0})


def molecules(folder: Path) -> None:
    """Nine conformers of three molecules."""
    rows = []
    for smiles in ("CCO", "ClCCBr", "CC(=O)N"):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMultipleConfs(mol, 3, randomSeed=7)
        rows += conformations_of(mol, smiles)
    write_conformations(rows, folder)


# The last batch of an epoch is a single row: a process has none of it.
IMAGES: dict[str, Any] = {
    "model": {"channels": [4, 4], "latent": 4},
    "training": {"epochs": 3.0, "batch_size": 4, "precision": "float32", "evaluations": 3},
    "sampling": {},
    "precision": "float32",
}
MOLECULES: dict[str, Any] = {
    "model": {"hidden_size": 8, "global_layers": 1, "local_layers": 1, "timesteps": 20, "beta_end": 0.05},
    "training": {"steps": 9, "batch_size": 4, "evaluations": 3},
    "sampling": {"steps": 4, "batch_size": 2},
}
KINDS = {"image": (images, IMAGES), "molecule": (molecules, MOLECULES)}


@pytest.fixture(params=KINDS)
def spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSpec:
    """A training of a domain, in the working folder."""
    monkeypatch.chdir(tmp_path)
    make, sections = KINDS[request.param]
    make(Path("real"))
    common = {"streams": "s", "iteration": 1, "part": 0, "seed": 0}
    spec = JobSpec(
        rule="concatenate",
        module="selfloop.data.training_set",
        folder=str(tmp_path),
        input={"real": "real", "parts": ["real"]},
        output={"training_set": "set"},
        params={"streams": "s", "takes": [TAKE], "budget": None},
        threads=2,
        gpus=0,
        processes=1,
        every_seconds=60.0,
        log="logs/concatenate.log",
        began=0.0,
    )
    assert training_set and execute(spec) == 0
    return replace(
        spec,
        rule="train",
        module=f"selfloop.domains.{request.param}.steps.train",
        input={"training_set": "set", "test": "real"},
        params={**sections, **common},
        log="logs/train.log",
    )


def trained(spec: JobSpec, processes: int) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """The weights and the learning curve of a training in so many processes."""
    name = f"{processes}"
    output = {"checkpoint": f"checkpoint-{name}", "learning_curve": f"curve-{name}.parquet"}
    params = {**spec.params, "state": f"state-{name}"}
    assert execute(replace(spec, output=output, params=params, processes=processes, log=f"logs/train-{name}.log")) == 0
    (weights,) = Path(output["checkpoint"]).glob("*.safetensors")
    return load_file(weights), pq.read_table(output["learning_curve"]).to_pylist()


# What a convolution adds before BatchNorm is subtracted there. Its gradient is rounding alone, of which Adam makes
# steps as large as others; BatchNorm's running mean follows, and with it the losses of models that are evaluated.
OF_NO_EFFECT = re.compile(r"(en|de)coder\.\d+\.(0\.bias|1\.mean)")


def sampled(spec: JobSpec, processes: int) -> list[dict[str, Any]]:
    """The rows of a part of the model that one process has trained."""
    generate = replace(
        spec,
        rule="generate",
        module=spec.module.replace("train", "generate"),
        input={"checkpoint": "checkpoint-1", "real": "real"},
        output={"part": f"part-{processes}"},
        processes=processes,
        log=f"logs/generate-{processes}.log",
    )
    assert execute(generate) == 0
    return [row for path in shard_paths(Path(f"part-{processes}")) for row in pq.read_table(path).to_pylist()]


def test_two_processes_train_the_model_and_sample_the_part_of_one(spec: JobSpec) -> None:
    (alone, curve), (together, other) = trained(spec, 1), trained(spec, 2)
    assert alone.keys() == together.keys()
    for name, weight in alone.items():
        if not OF_NO_EFFECT.fullmatch(name):
            torch.testing.assert_close(together[name], weight, rtol=1e-3, atol=2e-5, msg=name)
    losses = [[row["value"] for row in rows if row["metric"] == "loss"] for rows in (curve, other)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[0]) == 3
    assert sampled(spec, 1) == sampled(spec, 2)
