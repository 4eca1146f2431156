"""What the jobs of a molecule diffusion are said to cost, against torch's own count and numbers worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selfloop.domains.molecule import cost as efforts
from selfloop.domains.molecule.config import Data, Model, Sampling, Training
from selfloop.domains.molecule.cost import effort, forward_flops
from selfloop.domains.molecule.data.graph import build_batch, build_graph, pairs_within
from selfloop.domains.molecule.model.network import build
from selfloop.errors import UserError
from selfloop.planning.check import check

MODEL = Model(hidden_size=16, global_layers=3, local_layers=2, timesteps=100)


def checked(data: dict[str, Any]) -> Data:
    """A config's `data` section with its defaults."""
    experiment = {"domain": "molecule", "data": data, "regimes": ["replace"], "iterations": 1, "seeds": [0]}
    found = check({"experiments": {"a": experiment}}).experiments["a"].data
    assert isinstance(found, Data)
    return found


def test_operations_are_those_of_the_model_on_a_chain_of_atoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine atoms in a row: 8 + 7 + 6 pairs at most three bonds apart, of 36. All are closer than the cutoff."""
    atoms = 9
    bonds = np.array([[first, first + 1, 1] for first in range(atoms - 1)])
    batch = build_batch([build_graph(atoms, bonds)], np.full(atoms, 6), "cpu")
    positions = torch.arange(3 * atoms, dtype=torch.float32).view(atoms, 3) / 9
    pairs = pairs_within(batch, positions, MODEL.cutoff)
    assert (len(pairs.first), pairs.local) == (36, 21)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        build(MODEL, 0)(batch, pairs)
    monkeypatch.setattr(efforts, "LOCAL_PAIRS", 21 / atoms)
    assert forward_flops(MODEL, atoms) == pytest.approx(counted.get_total_flops())


def test_a_training_counts_its_steps_whatever_its_training_set(tmp_path: Path) -> None:
    data = checked({"source": "rdkit", "molecules": 30, "conformers": 5, "test_molecules": 4})
    found = effort(data, MODEL, tmp_path)
    forward = forward_flops(MODEL, efforts.ATOMS)
    training = Training(steps=200, batch_size=8, evaluations=3, schedule="cosine")
    work = found.train(training, 2.0)
    assert work.units == 200 * 8
    assert work.flops == pytest.approx((3 * 200 * 8 + 3 * 2 * 4 * 5) * forward)
    watching = found.train(training.changed(schedule="plateau"), 2.0)
    held_out = 0.05 / 0.95 * round(0.95 * 30 * 5)
    assert watching.flops == pytest.approx((3 * 200 * 8 + 3 * 2 * (4 * 5 + held_out)) * forward)
    assert found.generate(Sampling()).flops == pytest.approx(round(0.95 * 150) * 50 * forward)
    assert found.generate(Sampling(schedule="all")).flops == pytest.approx(round(0.95 * 150) * 100 * forward)
    assert found.evaluate_model.flops == pytest.approx(8 * 20 * forward)


def test_data_of_unknown_size_are_asked_for(tmp_path: Path) -> None:
    data = checked({"source": "rdkit_folder", "folder": "nowhere"})
    with pytest.raises(UserError, match=r"data: size unknown until prepared.*--rows"):
        effort(data, MODEL, tmp_path)
    assert effort(data, MODEL, tmp_path, rows=70).generate(Sampling(schedule="all")).units == 70
