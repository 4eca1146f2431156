"""Sampling: which noise levels are visited, and that samples depend on the seed alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfloop.domains.molecule.config import Model, Sampling
from selfloop.domains.molecule.data.conformations import Conformations
from selfloop.domains.molecule.data.graph import Batch, Pairs
from selfloop.domains.molecule.model import sampler
from selfloop.domains.molecule.model.network import GeoDiff, build
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.model.sampler import clip, sample, visited_times
from selfloop.training.slices import FinishedSlices

MODEL = Model(hidden_size=8, global_layers=1, local_layers=1, cutoff=5.0, edge_encoder="shared")
SAMPLING = Sampling(steps=6, batch_size=3)


def test_strided_goes_evenly_from_the_noisiest_level_to_the_finest() -> None:
    assert visited_times("strided", 5, 1000) == [999, 749, 500, 250, 0]
    times = visited_times("strided", 50, 1000)
    assert (len(set(times)), times[0], times[-1]) == (50, 999, 0)
    assert set(np.diff(times)) <= {-20, -21}


def test_noisiest_never_leaves_the_noise_as_in_the_original() -> None:
    times = visited_times("noisiest", 50, 1000)
    assert (times[0], times[-1], len(times)) == (999, 950, 50)
    levels = sigmas(MODEL)
    assert levels[times[-1]] > 7.5
    assert levels[visited_times("strided", 50, 1000)[-1]] < 0.01


@pytest.mark.parametrize("schedule", ["strided", "noisiest"])
def test_with_as_many_steps_as_levels_all_schedules_are_one(schedule: str) -> None:
    assert visited_times(schedule, 20, 20) == visited_times("all", None, 20) == list(range(19, -1, -1))


class Oracle(GeoDiff):
    """Knows the true positions of the one molecule that it is asked about."""

    def __init__(self, coordinates: np.ndarray) -> None:
        super().__init__(build(MODEL, 0).shape)
        self.true = torch.from_numpy(coordinates)
        self.sigma = 1.0

    def _toward(self, pairs: Pairs) -> torch.Tensor:
        copies = self.true.repeat(int(pairs.second.max()) // len(self.true) + 1, 1)
        return ((copies[pairs.first] - copies[pairs.second]).norm(dim=1) - pairs.lengths) / self.sigma

    def local_scores(self, batch: Batch, pairs: Pairs) -> torch.Tensor:
        return self._toward(pairs)[: pairs.local]

    def global_scores(self, batch: Batch, pairs: Pairs) -> torch.Tensor:
        return self._toward(pairs)[pairs.local :]


def test_with_a_perfect_score_all_steps_lead_to_the_true_bond_lengths(
    molecules: Conformations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `noisiest` stays noise: with the very same score, which is what the original's shortcut costs."""
    row = molecules[0]
    oracle = Oracle(row.coordinates)
    step = sampler._step

    def told(model: Any, sampling: Any, batch: Any, positions: Any, sigma: float, *rest: Any) -> Any:
        oracle.sigma = sigma
        return step(model, sampling, batch, positions, sigma, *rest)

    monkeypatch.setattr(sampler, "_step", told)
    first, second = row.bonds[:, 0], row.bonds[:, 1]

    def error(**changes: Any) -> float:
        config = MODEL.changed(cutoff=100.0)
        (points, *_), _ = sample(oracle, config, SAMPLING.changed(**changes), molecules, [0], "one")
        lengths, true = (np.linalg.norm(p[first] - p[second], axis=1) for p in (points, row.coordinates))
        return float(np.abs(lengths - true).mean())

    assert error(schedule="all") < 0.02
    assert error(steps=50) < 0.3
    assert error(schedule="noisiest", steps=50) > 1.0


def test_a_sample_depends_on_the_seed_and_not_on_those_beside_it(molecules: Conformations) -> None:
    model = build(MODEL, 1)
    rows = [4, 0, 2, 4, 6]
    together, _ = sample(model, MODEL, SAMPLING.changed(batch_size=5), molecules, rows, "a")
    apart, _ = sample(model, MODEL, SAMPLING.changed(batch_size=2), molecules, rows, "a")
    again, _ = sample(model, MODEL, SAMPLING.changed(batch_size=5), molecules, rows, "a")
    other, _ = sample(model, MODEL, SAMPLING.changed(batch_size=5), molecules, rows, "b")
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(together, apart, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(together, again, strict=True))
    assert not np.allclose(together[0], other[0], atol=0.1)
    assert not np.allclose(together[0], together[3], atol=0.1)  # two samples of one molecule


def test_samples_lie_around_the_origin_and_have_their_molecules_atoms(molecules: Conformations) -> None:
    samples, again = sample(build(MODEL, 1), MODEL, SAMPLING, molecules, [0, 5], "a")
    assert [each.shape for each in samples] == [molecules[row].coordinates.shape for row in (0, 5)]
    assert all(np.abs(each.mean(axis=0)).max() < 1e-4 for each in samples)
    assert not again.any()


def test_a_molecule_that_runs_away_is_sampled_again_alone_with_clipped_local_forces(molecules: Conformations) -> None:
    class Runaway(Oracle):
        def local_scores(self, batch: Batch, pairs: Pairs) -> torch.Tensor:
            wild = torch.zeros(batch.molecules)
            wild[batch.molecule[batch.atomic_numbers == 35]] = 1e30  # the molecule with bromine
            return wild[batch.molecule[pairs.first[: pairs.local]]]

        def global_scores(self, batch: Batch, pairs: Pairs) -> torch.Tensor:
            return torch.zeros(len(pairs.first) - pairs.local)

    samples, again = sample(
        Runaway(molecules[0].coordinates), MODEL, SAMPLING.changed(step_size=1e3), molecules, [0, 8], "a"
    )
    assert again.tolist() == [False, True]
    assert np.isfinite(samples[1]).all()


def test_long_vectors_are_shortened_and_others_left_alone() -> None:
    vectors = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [0.3, 0.4, 0.0]])
    assert torch.allclose(clip(vectors, 1.0), torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 0.0], [0.3, 0.4, 0.0]]))


def test_batches_that_an_earlier_attempt_has_sampled_are_not_sampled_again(
    molecules: Conformations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows, finished = build(MODEL, 1), [4, 0, 2, 4, 6], FinishedSlices(tmp_path, "mine")
    asked = SAMPLING.changed(batch_size=2)
    whole, _ = sample(model, MODEL, asked, molecules, rows, "a")

    def killed(count: int) -> None:
        if sum(counted := [*done, count]) == 4:
            raise InterruptedError
        done[:] = counted

    done: list[int] = []
    with pytest.raises(InterruptedError):
        sample(model, MODEL, asked, molecules, rows, "a", killed, finished=finished)
    batches: list[int] = []
    step = sampler.build_batch
    monkeypatch.setattr(sampler, "build_batch", lambda *each: batches.append(1) or step(*each))
    again, _ = sample(model, MODEL, asked, molecules, rows, "a", finished=finished)
    assert len(batches) == 1
    assert all(np.array_equal(a, b) for a, b in zip(again, whole, strict=True))
