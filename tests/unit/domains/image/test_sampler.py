"""Sampling from the prior."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from selfloop.domains.image.data.image_store import decode
from selfloop.domains.image.model import sampler
from selfloop.domains.image.model.network import Autoencoder, Shape, build
from selfloop.errors import UserError
from selfloop.training.distributed import ProcessGroup
from selfloop.training.slices import FinishedSlices

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    """A model whose samples differ; it is not trained."""
    return build(Shape(8, "rgb", (4, 8), 6), 0).eval()


def sampled(model: Autoencoder, count: int, streams: str = "p", temperature: float = 1.0) -> np.ndarray:
    return np.concatenate(list(sampler.sample(model, count, temperature, streams, CPU)))


def test_an_image_depends_on_the_part_and_its_block_alone(model: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 16)
    images = sampled(model, 40)
    assert images.shape == (40, 3, 8, 8)
    assert images.dtype == np.uint8
    torch.manual_seed(9)
    assert np.array_equal(sampled(model, 40), images)
    assert np.array_equal(sampled(model, 32), images[:32])
    assert not np.array_equal(images[:16], images[16:32])
    assert not np.array_equal(sampled(model, 40, "q"), images)


def test_processes_share_a_part_and_give_the_same_images(model: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 16)
    shares = [
        np.concatenate(list(sampler.sample(model, 70, 1.0, "p", CPU, ProcessGroup(rank, 3)))) for rank in range(3)
    ]
    assert [len(share) for share in shares] == [16, 32, 22]
    assert np.array_equal(np.concatenate(shares), sampled(model, 70))
    assert list(sampler.sample(model, 10, 1.0, "p", CPU, ProcessGroup(0, 3))) == []  # one block, and the last takes it


def test_temperature_is_the_latents_deviation(model: Autoencoder) -> None:
    cold, cool, warm = (sampled(model, 64, temperature=value).astype(float).std(axis=0).mean() for value in (0, 0.5, 1))
    assert cold == 0
    assert cool < warm


def test_files_come_in_the_order_of_the_images(model: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 4)
    counted: list[int] = []
    files = list(sampler.encoded(sampler.sample(model, 23, 1.0, "p", CPU), counted.append))
    assert sum(counted) == len(files) == 23
    assert np.array_equal(np.stack([decode(data, "") for data in files]), sampled(model, 23))


def test_an_error_of_the_model_is_not_lost_to_the_encoding_thread() -> None:
    def failing() -> Iterator[np.ndarray]:
        yield np.zeros((2, 1, 4, 4), dtype=np.uint8)
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        list(sampler.encoded(failing()))


def test_a_broken_model_samples_nothing() -> None:
    model = build(Shape(8, "gray", (4,), 2), 0).eval()
    with torch.no_grad():
        model.paint.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="are not finite"):
        sampled(model, 3)


def test_blocks_that_an_earlier_attempt_has_sampled_are_not_sampled_again(
    model: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "BLOCK", 16)
    whole = sampled(model, 40)
    finished = FinishedSlices(tmp_path, "mine")
    killed = sampler.sample(model, 40, 1.0, "p", CPU, finished=finished)
    next(killed)
    next(killed)
    killed.close()
    blind = build(Shape(8, "rgb", (4, 8), 6), 0).eval()
    with torch.no_grad():
        blind.paint.bias.fill_(float("nan"))
    rest = sampler.sample(blind, 40, 1.0, "p", CPU, finished=finished)
    assert np.array_equal(np.concatenate([next(rest), next(rest)]), whole[:32])
    with pytest.raises(UserError, match="are not finite"):
        next(rest)
    assert np.array_equal(np.concatenate(list(sampler.sample(model, 40, 1.0, "p", CPU, finished=finished))), whole)
