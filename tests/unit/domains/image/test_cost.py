"""What the jobs of an image model are said to cost, against torch's own count and numbers worked out by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selfloop.domains.image.config import Data, Model, Sampling, Training
from selfloop.domains.image.cost import effort, forward_flops
from selfloop.domains.image.domain import Experiment
from selfloop.domains.image.model.network import Shape, build
from selfloop.errors import UserError
from selfloop.planning.check import check

HUB = {"source": "hub", "name": "someone/faces", "size": 16, "color": "rgb"}
MODEL = {"channels": [4, 8], "latent": 5}


def sections(data: dict[str, Any]) -> Experiment:
    """An experiment's checked sections."""
    experiment = {
        "domain": "image",
        "data": data,
        "model": MODEL,
        "regimes": ["replace"],
        "iterations": 1,
        "seeds": [0],
    }
    checked = check({"experiments": {"a": experiment}}).experiments["a"]
    assert isinstance(checked, Experiment)
    return checked


@pytest.mark.parametrize(
    ("size", "color", "channels", "latent"), [(64, "rgb", (32, 64, 128, 256, 512), 128), (32, "gray", (8, 16, 32), 16)]
)
def test_operations_are_those_of_the_model(size: int, color: str, channels: tuple[int, ...], latent: int) -> None:
    data = Data(source="packaged", name="orl", size=size, color=color)
    section = Model(channels=list(channels), latent=latent)
    model = build(Shape(size, color, channels, latent), 0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as encoding:
        mean, _ = model.encode(torch.zeros(3, model.shape.bands, size, size))
    with torch.no_grad(), FlopCounterMode(display=False) as decoding:
        model.decode(mean)
    encoder, decoder = forward_flops(data, section)
    assert (encoding.get_total_flops(), decoding.get_total_flops()) == (3 * encoder, 3 * decoder)


def test_celeba_is_as_large_as_its_lists_say(tmp_path: Path) -> None:
    checked = sections({**HUB, "name": "eurecom-ds/celeba", "test_split": "test"})
    found = effort(checked.data, checked.model, tmp_path)
    encoder, decoder = forward_flops(checked.data, checked.model)
    work = found.train(Training(epochs=2.0, evaluations=3), 4.0)
    assert work.units == 2 * 4 * 162_770
    assert work.flops == (3 * work.units + 3 * 19_962) * (encoder + decoder)
    assert found.generate(Sampling()).units == 162_770
    assert found.generate(Sampling()).flops == 162_770 * decoder


def test_packaged_images_are_counted_and_others_asked_for(tmp_path: Path) -> None:
    """40 people with 10 photographs each, of whom a fifth is held out."""
    checked = sections({"source": "packaged", "name": "orl", "size": 16, "color": "gray"})
    assert effort(checked.data, checked.model, tmp_path).train(Training(epochs=1.0), 1.0).units == 320
    unknown = sections(HUB)
    with pytest.raises(UserError, match=r"data\.name: 'someone/faces': size unknown until prepared.*--rows"):
        effort(unknown.data, unknown.model, tmp_path)
    assert effort(unknown.data, unknown.model, tmp_path, rows=70).generate(Sampling()).units == 70
