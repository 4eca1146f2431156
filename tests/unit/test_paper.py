"""The paper's study is what the paper says, as far as it can be said without running it."""

from pathlib import Path

import pytest
import yaml

from selfloop import config, study
from selfloop.domains.text.settings import parameter_count

PAPER = Path(__file__).parents[2] / "config" / "paper.yaml"


@pytest.fixture(scope="module")
def paper() -> study.Study:
    """The study of config/paper.yaml."""
    return study.build(config.check(yaml.safe_load(PAPER.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    ("experiment", "parameters"),
    [
        ("tinystories-gpt2-9m", 8_890_880),
        ("tinystories-llama-12m", 12_488_960),
        ("tinystories-llama-42m", 41_755_136),
        ("tinystories-llama-126m", 125_553_408),
    ],
)
def test_the_models_have_exactly_the_papers_sizes(paper: study.Study, experiment: str, parameters: int) -> None:
    (found,) = (entry for entry in paper.experiments if entry.name == experiment)
    assert parameter_count(found.model) == parameters


def test_both_temperatures_sample_from_one_first_model(paper: study.Study) -> None:
    first = {
        chain.models[0].name
        for chain in paper.chains
        if chain.experiment.name in ("tinystories-gpt2-9m", "tinystories-gpt2-9m-cold")
    }
    assert len(first) == 1


def test_every_model_is_trained_once(paper: study.Study) -> None:
    gpt2 = 1 + 9 + 4 + 3  # iteration 1, then replace to 10, accumulate to 5, replace-multiple to 4
    cold = 9 + 4  # shares iteration 1
    fifth = gpt2
    three_epochs = 1 + 4 + 4
    llama = 3 * (1 + 4 + 4)
    linear = 1 + 4 * 9
    geodiff = 1 + 2 * 2 * 7  # two samplings share iteration 1
    assert len(paper.models) == gpt2 + cold + fifth + three_epochs + llama + geodiff + linear


def test_the_linear_grid_has_every_setting_whose_theory_holds(paper: study.Study) -> None:
    settings = [
        (d, rows, noise)
        for d in (1, 3, 10, 32, 100)
        for rows in (10, 32, 100, 316, 1000)
        for noise in (0.1, 1.0, 10.0)
        if rows >= d + 2
    ]
    assert len(paper.simulations) == 4 * len(settings)
