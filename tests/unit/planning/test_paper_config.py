"""The paper's study is what the paper says, as far as it can be said without running it."""

from pathlib import Path

import pytest
import yaml

from selfloop.domains.image import domain as image
from selfloop.domains.text.model.shape import parameter_count
from selfloop.planning import study
from selfloop.planning.artifacts import Chain, Model
from selfloop.planning.check import check

PAPER = Path(__file__).parents[3] / "config" / "paper.yaml"


@pytest.fixture(scope="module")
def paper() -> study.Study:
    """The study of config/paper.yaml."""
    return study.build(check(yaml.safe_load(PAPER.read_text(encoding="utf-8"))))


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


def test_the_autoencoder_has_the_papers_size(paper: study.Study) -> None:
    (found,) = (entry for entry in paper.experiments if entry.domain.name == "image")
    assert image.parameter_count(found.data, found.model) == 3_937_635


def text_models(paper: study.Study) -> list[Model]:
    return [model for model in paper.models.values() if model.domain.name == "text"]


def chains(paper: study.Study, experiment: str) -> list[Chain]:
    return [chain for chain in paper.chains if chain.experiment.name == experiment]


# The settings of Table 2's rows and of Fig. 14: iterations by regime, temperature, share of the data, epochs in the
# first iteration and in the others.
SETTINGS = {
    "tinystories-gpt2-9m": ({"replace": 10, "accumulate": 5, "replace-multiple": 4}, 1.0, None, 1, 1),
    "tinystories-gpt2-9m-cold": ({"replace": 10, "accumulate": 5}, 0.3, None, 1, 1),
    "tinystories-gpt2-9m-fifth": ({"replace": 10, "accumulate": 5, "replace-multiple": 4}, 1.0, 0.2, 1, 1),
    "tinystories-gpt2-9m-fifth-3-epochs": ({"replace": 5, "accumulate": 5}, 1.0, 0.2, 3, 3),
    "tinystories-gpt2-9m-first-half-epoch": ({"replace": 5, "accumulate": 5}, 1.0, None, 0.5, 1),
    "tinystories-gpt2-9m-first-2-epochs": ({"replace": 5, "accumulate": 5}, 1.0, None, 2, 1),
    "tinystories-gpt2-9m-first-3-epochs": ({"replace": 5, "accumulate": 5}, 1.0, None, 3, 1),
    "tinystories-llama-12m": ({"replace": 5, "accumulate": 5}, 1.0, None, 1, 1),
    "tinystories-llama-42m": ({"replace": 5, "accumulate": 5}, 1.0, None, 1, 1),
    "tinystories-llama-126m": ({"replace": 5, "accumulate": 5}, 1.0, None, 1, 1),
}


def test_every_experiment_has_the_papers_settings(paper: study.Study) -> None:
    text = {entry.name: entry for entry in paper.experiments if entry.domain.name == "text"}
    assert text.keys() == SETTINGS.keys()
    for name, (iterations, temperature, fraction, first, later) in SETTINGS.items():
        entry = text[name]
        assert entry.iterations == iterations
        assert [sampling.temperature for sampling in entry.sampling] == [temperature]
        assert entry.data.fraction == fraction
        assert entry.data.rows is None
        assert (entry.training_of(1).epochs, entry.training_of(2).epochs) == (first, later)
        assert entry.model.vocabulary == 8000


def test_both_temperatures_sample_from_one_first_model(paper: study.Study) -> None:
    hot, cold = (chains(paper, name)[0] for name in ("tinystories-gpt2-9m", "tinystories-gpt2-9m-cold"))
    assert hot.models[0] == cold.models[0]
    assert not {part.folder for part in hot.parts[0]} & {part.folder for part in cold.parts[0]}


def test_amounts_of_training_in_iteration_1_share_no_model(paper: study.Study) -> None:
    """A descendant of another first model is another model, though it is trained alike."""
    names = ["tinystories-gpt2-9m", *(name for name in SETTINGS if "-first-" in name)]
    found = [{model.name for chain in chains(paper, name) for model in chain.models} for name in names]
    assert sum(map(len, found)) == len(set().union(*found)) == 17 + 3 * 9


def test_every_model_is_trained_once_and_every_part_sampled_once(paper: study.Study) -> None:
    """The numbers of jobs of the rules train and generate, worked out by hand.

    Models: iteration 1 is one model for all regimes. Parts: each model samples part 0; for replace-multiple, model 1
    samples 2 parts, model 2 samples 3, model 3 samples 4, and model 4, the last, part 0 alone.
    """
    by_hand = {  # train, generate
        # Iteration 1; replace 2 to 10, accumulate 2 to 5, replace-multiple 2 to 4.
        "tinystories-gpt2-9m": (1 + 9 + 4 + 3, 2 + 9 + 4 + (3 + 4 + 1)),
        # Iteration 1 is the model above, sampled from at another temperature.
        "tinystories-gpt2-9m-cold": (0 + 9 + 4, 1 + 9 + 4),
        "tinystories-gpt2-9m-fifth": (1 + 9 + 4 + 3, 2 + 9 + 4 + (3 + 4 + 1)),
        "tinystories-gpt2-9m-fifth-3-epochs": (1 + 4 + 4, 1 + 4 + 4),
        # Each with a first model of its own.
        "first iteration": (3 * (1 + 4 + 4), 3 * (1 + 4 + 4)),
        "llama": (3 * (1 + 4 + 4), 3 * (1 + 4 + 4)),
    }
    models = text_models(paper)
    parts = [part for part in paper.parts.values() if paper.models[part.model].domain.name == "text"]
    assert len(models) == sum(train for train, _ in by_hand.values()) == 110
    assert len(parts) == sum(generate for _, generate in by_hand.values()) == 123
    linear = [model for model in paper.models.values() if model.domain.name == "linear"]
    assert len(linear) == 1 + 4 * 9
    images = [model for model in paper.models.values() if model.domain.name == "image"]
    assert len(images) == 1 + 3 * 4
    geodiff = [model for model in paper.models.values() if model.domain.name == "molecule"]
    assert len(geodiff) == 1 + 2 * 2 * 7  # two samplings share iteration 1


def test_the_linear_grid_has_every_setting_whose_theory_holds(paper: study.Study) -> None:
    settings = [
        (d, rows, noise)
        for d in (1, 3, 10, 32, 100)
        for rows in (10, 32, 100, 316, 1000)
        for noise in (0.1, 1.0, 10.0)
        if rows >= d + 2
    ]
    assert len(paper.simulations) == 4 * len(settings)
