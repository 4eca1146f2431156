"""How fast this machine is, is measured with the steps that a study runs."""

import pytest
import yaml

from selfloop.domains.image import measure_speed
from selfloop.planning.check import check
from selfloop.training.speed import matmul_flops

ENTRY = """
domain: image
data: {source: packaged, name: orl, size: 16, color: gray}
model: {channels: [4, 8], latent: 4}
training: {epochs: 1, batch_size: 8, precision: float32}
regimes: [replace]
iterations: 1
seeds: [0]
"""


def test_both_rates_are_measured_and_below_that_of_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_speed, "SECONDS", 0.1)
    entry = check({"experiments": {"a": yaml.safe_load(ENTRY)}}).experiments["a"]
    sections = (entry.data, entry.model, entry.training, entry.sampling[0])
    train, generate = measure_speed.measure_speed(*sections, 1.0, threads=1)
    products = matmul_flops(threads=1)
    assert 1e5 < train < products
    assert 1e5 < generate < products
