"""The autoencoder's size, its formats and its checkpoints."""

import json
from pathlib import Path

import pytest
import torch

from selfloop.domains.image.config import Data, Model
from selfloop.domains.image.domain import parameter_count
from selfloop.domains.image.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.image.model.network import LOG_VARIANCE, Autoencoder, Shape, build, to_bytes, to_pixels
from selfloop.errors import UserError
from selfloop.training.loop import persistent_buffers

SMALL = Shape(16, "gray", (4, 8), 6)


def parameters(model: Autoencoder) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_papers_model_has_3_94_million_parameters() -> None:
    assert parameters(build(Shape(64, "rgb", (32, 64, 128, 256, 512), 128), 0)) == 3_937_635


@pytest.mark.parametrize(
    ("size", "color", "channels", "latent"),
    [(64, "rgb", [32, 64, 128, 256, 512], 128), (16, "gray", [3, 5], 7), (8, "rgb", [4], 2)],
)
def test_the_settings_count_parameters_without_torch(size: int, color: str, channels: list[int], latent: int) -> None:
    model = Model(channels=channels, latent=latent)
    count = parameters(build(Shape.of(size, color, model), 0))
    assert parameter_count(Data(source="packaged", name="orl", size=size, color=color), model) == count


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_what_is_decoded_has_the_shape_of_what_is_encoded(color: str) -> None:
    model = build(Shape(16, color, (4, 8), 6), 0)
    images = torch.zeros(5, model.shape.bands, 16, 16)
    mean, log_variance = model.encode(images)
    assert mean.shape == log_variance.shape == (5, 6)
    decoded = model.decode(mean)
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1


def test_the_seed_decides_the_weights_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (build(SMALL, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["mean.weight"], other["mean.weight"])


def test_statistics_stay_float32_where_weights_are_bfloat16() -> None:
    model = build(SMALL, 0)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    before = {name: buffer.clone() for name, buffer in persistent_buffers(model).items()}
    model.decode(model.encode(torch.randn(4, 1, 16, 16))[0])
    after = persistent_buffers(model)
    assert {buffer.dtype for buffer in after.values()} == {torch.float32}
    assert all(not torch.equal(after[name], before[name]) for name in before)


def test_the_log_variance_is_held_within_bounds() -> None:
    model = build(SMALL, 0).eval()
    with torch.no_grad():
        model.log_variance.bias.fill_(1e6)
    assert model.encode(torch.zeros(2, 1, 16, 16))[1].max() == LOG_VARIANCE[1]


def test_bytes_and_pixels_are_each_others_inverse() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_pixels(every)), every)
    assert (to_pixels(every).min(), to_pixels(every).max()) == (-1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_gives_the_model_back(tmp_path: Path, dtype: torch.dtype) -> None:
    model = build(SMALL, 0)
    model.encode(torch.randn(8, 1, 16, 16))  # moves the statistics
    save_checkpoint(SMALL, 0.25, model.state_dict(), tmp_path)
    loaded, kl_weight = load_checkpoint(tmp_path, dtype)
    assert (loaded.shape, kl_weight, loaded.training) == (SMALL, 0.25, False)
    for name, tensor in model.state_dict().items():
        is_statistic = name in persistent_buffers(model)
        assert torch.equal(loaded.state_dict()[name], tensor if is_statistic else tensor.to(dtype))


def test_a_checkpoint_whose_tensors_do_not_fit_is_refused(tmp_path: Path) -> None:
    save_checkpoint(SMALL, 0.25, build(SMALL, 0).state_dict(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, said in (
        ({"latent": 7}, "does not fit"),
        ({"channels": [4]}, "does not fit"),
        ({"model_type": "x"}, "'x'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=said):
            load_checkpoint(tmp_path)
