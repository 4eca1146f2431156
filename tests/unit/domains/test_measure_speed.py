"""How fast this machine is, is measured with the steps that a study runs."""

import importlib

import pytest
import yaml

from selfloop.planning.check import check
from selfloop.training.speed import matmul_flops

IMAGE = """
domain: image
data: {source: packaged, name: orl, size: 16, color: gray}
model: {channels: [4, 8], latent: 4}
training: {epochs: 1, batch_size: 8, precision: float32}
"""
MOLECULE = """
domain: molecule
data: {source: rdkit, molecules: 4, conformers: 1, test_molecules: 2, max_atoms: 12}
model: {hidden_size: 8, global_layers: 1, local_layers: 1}
training: {steps: 10, batch_size: 4, schedule: cosine}
sampling: [{steps: 8, batch_size: 4}]
"""
LOOP = {"regimes": ["replace"], "iterations": 1, "seeds": [0]}


@pytest.mark.parametrize("text", [IMAGE, MOLECULE], ids=["image", "molecule"])
def test_both_rates_are_measured_and_below_that_of_matrix_products(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    entry = check({"experiments": {"a": {**yaml.safe_load(text), **LOOP}}}).experiments["a"]
    module = importlib.import_module(f"selfloop.domains.{entry.domain}.measure_speed")
    monkeypatch.setattr(module, "SECONDS", 0.1)
    train, generate = module.measure_speed(entry.data, entry.model, entry.training, entry.sampling[0], 1.0, threads=1)
    products = matmul_flops(threads=1)
    assert 1e5 < train < products
    assert 1e5 < generate < products
