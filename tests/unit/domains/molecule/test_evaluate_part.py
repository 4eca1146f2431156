"""What sampled conformations of the test molecules are compared with."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from selfloop.domains.molecule.config import Sampling
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import read_conformations, write_conformations
from selfloop.domains.molecule.steps import evaluate_part
from selfloop.jobs.job import Job

from .test_train import _Quiet


def test_a_sample_counts_for_its_own_isomer_alone(
    mol: Callable[..., Chem.Mol], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sample has the shape of the E isomer: right for E, wrong for Z, whose atoms and bonds are the same."""
    real = tmp_path / "real"
    isomers = ("F/C=C/F", "F/C=C\\F")
    write_conformations((row for smiles in isomers for row in conformations_of(mol(smiles, 1), smiles)), real)
    e, z = read_conformations(real)[0], read_conformations(real)[1]
    assert np.array_equal(e.bonds, z.bonds)
    samples = [e.coordinates] * 2 * evaluate_part.PER_REFERENCE
    monkeypatch.setattr(evaluate_part, "sample", lambda *_: (samples, np.zeros(len(samples), dtype=bool)))
    monkeypatch.setattr(evaluate_part, "load_checkpoint", lambda *_: (None, {}))
    inputs = {"real": str(real), "part": str(real), "test": str(real), "checkpoint": ""}
    params = evaluate_part.Params(part=0, sampling=Sampling(), streams="a")
    target = tmp_path / "measurements.json"
    evaluate_part.run(Job(inputs, {"measurements": str(target)}, params, progress=_Quiet))
    rows = json.loads(target.read_text(encoding="utf-8"))
    found = {row["metric"]: row["value"] for row in rows if row["split"] == "test"}
    assert (found["cov_r_0.5"], found["cov_p_0.5"]) == (0.5, 0.5)
    assert found["mat_p"] > 0.2
