"""Steps of fixed shapes sample the documents of the cohorts: the code of a GPU, run on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling import lanes, sampler
from selfloop.errors import UserError
from selfloop.operations.gpu.launches import Launches

PLAIN = Sampling()
CONTEXT = 24


def random_model(architecture: str, layers: int = 2) -> Transformer:
    model = Transformer(Shape(architecture, 16, layers, 2, 32, CONTEXT, 60))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
        model.head_weight[END_OF_TEXT_ID] = 0.0
    return model.eval()


def prompts(count: int, given: int = 1) -> torch.Tensor:
    first = torch.full((count, 1), END_OF_TEXT_ID)
    return torch.cat([first, 1 + torch.arange(count)[:, None] % 50], dim=1)[:, :given]


def both(model: Transformer, begins: torch.Tensor, batch: int, **changes: Any) -> list[list[list[int]]]:
    """The documents of cohorts, and those of lanes."""
    asked = PLAIN.changed(**changes)
    return [
        [ids.tolist() for ids in each.sample(model, begins, asked, "part", batch=batch, tokens=57)]
        for each in (sampler, lanes)
    ]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes of 3, 6, 12 and 24 positions."""
    monkeypatch.setattr(lanes, "FIRST_LANE", 3)
    monkeypatch.setattr(lanes, "LONGER", 2)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("batch", [5, 64, 200])
def test_the_documents_are_those_of_the_cohorts(architecture: str, batch: int) -> None:
    expected, found = both(random_model(architecture), prompts(90), batch)
    assert found == expected
    assert len({len(document) for document in expected}) > 10  # they leave their rows at different times


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.0}, {"temperature": 0.5, "top_k": 5}, {"top_p": 0.7}, {"max_length": 7}, {"max_length": 3}],
)
@pytest.mark.parametrize("given", [1, 2])
def test_so_they_are_with_other_settings_and_prompts(changes: dict[str, Any], given: int) -> None:
    expected, found = both(random_model("gpt2"), prompts(60, given), 16, **changes)
    assert found == expected


def test_documents_that_all_reach_the_maximum_length_wait_for_room_in_the_next_lane() -> None:
    model = random_model("gpt2")
    with torch.no_grad():  # the logit of end-of-text is -50
        model.norm.weight[0], model.norm.bias[0] = 0.0, 50.0
        model.embedding.weight[:, 0] = 0.0
        model.embedding.weight[END_OF_TEXT_ID, 0] = -1.0
    expected, found = both(model, prompts(40), 16)
    assert found == expected
    assert {len(document) for document in expected} == {CONTEXT}


def test_a_broken_model_samples_nothing() -> None:
    model = random_model("gpt2")
    with torch.no_grad():
        model.norm.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="logits are not finite"):
        lanes.sample(model, prompts(9), PLAIN, "part")


def test_tokens_are_counted_as_they_are_sampled() -> None:
    counted: list[int] = []
    documents = lanes.sample(random_model("gpt2"), prompts(50), PLAIN, "part", counted.append, batch=16)
    assert sum(counted) == sum(len(ids) - 1 for ids in documents)


def test_a_step_never_waits_for_the_device_and_its_launches_depend_on_nothing() -> None:
    """Eight layers, as the paper's models have, and all four lanes."""
    model = random_model("gpt2", layers=8)
    decoder = lanes.Decoder(model, PLAIN, 1, lanes.lane_sizes(16, CONTEXT), torch.float32, None)
    decoder.allocate(4)
    counts = []
    with torch.inference_mode():
        for active in (False, True):
            if active:
                decoder.begin(np.arange(16), prompts(16), torch.rand(16, CONTEXT))
            with Launches() as launches:
                decoder.step(4)
            counts.append(launches.counts)
            assert launches.waits == {}
            with Launches() as launches:
                decoder.step(1)
            assert launches.waits == {}
            assert launches.total < 220
    assert counts[0] == counts[1]


def test_lanes_reach_the_longest_document_and_fit_their_memory_on_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert lanes.lane_sizes(1024, 2048) == [(1024, 256), (256, 1024), (64, 2048)]
    assert lanes.lane_sizes(2, 100) == [(2, 100)]
    for hidden, layers, rows in ((256, 8, 1024), (768, 12, 256), (64, 2, 2048)):
        shape = Shape("gpt2", hidden, layers, 8, 4 * hidden, 2048, 8000)
        assert lanes.rows_of_first_lane(shape, 2048, torch.bfloat16) == rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_may_have_another_dtype_than_the_model(dtype: torch.dtype) -> None:
    documents = lanes.sample(random_model("llama"), prompts(20), PLAIN, "part", kv_dtype=dtype)
    assert len(documents) == 20 and all(ids.dtype == np.int32 for ids in documents)
