"""What the study asks of the image domain while it is planned."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from selfloop.code_digest import is_module, used_modules
from selfloop.domains.image.config import Data
from selfloop.domains.image.domain import DOMAIN, Experiment, ends, first_seeds
from selfloop.errors import UserError
from selfloop.planning.check import check
from selfloop.planning.rules import plan_study

EXPERIMENT: dict[str, Any] = {
    "domain": "image",
    "data": {"source": "packaged", "name": "orl", "size": 32, "color": "gray"},
    "model": {"channels": [16, 32, 64], "latent": 32},
    "training": {"batch_size": 16},
    "regimes": ["replace"],
    "iterations": 2,
    "seeds": [0],
}


def checked(**sections: dict[str, Any]) -> Experiment:
    entry = copy.deepcopy(EXPERIMENT)
    for name, keys in sections.items():
        entry[name] |= keys
    found = check({"experiments": {"a": entry}}).experiments["a"]
    assert isinstance(found, Experiment)
    return found


def test_what_decides_the_shapes_of_the_weights_is_an_architecture_of_its_own() -> None:
    def architecture(**sections: dict[str, Any]) -> object:
        entry = checked(**sections)
        return DOMAIN.architecture(entry.data, entry.model)

    for section in ({"rows": 50}, {"seed": 3}, {"crop": 60}):
        assert architecture(data=section) == architecture()
    others: list[dict[str, dict[str, Any]]] = [{"data": {"size": 16}}, {"data": {"color": "rgb"}}]
    others += [{"model": {"latent": 16}}, {"model": {"channels": [16, 64]}}]
    for changes in others:
        assert architecture(**changes) != architecture()


def test_names_tell_the_data_and_the_model() -> None:
    entry = checked()
    assert DOMAIN.data_slug(entry.data) == "orl-32"
    assert DOMAIN.data_slug(Data(source="files", train=["Photos/My Faces.zip"])) == "my-faces-64"
    assert DOMAIN.data_slug(Data(source="hub", name="eurecom-ds/celeba")) == "celeba-64"
    assert DOMAIN.data_slug(Data(source="celeba", path="/data/x")) == "celeba-64"
    assert DOMAIN.model_slug(entry.model) == "vae-16-64-z32"
    assert DOMAIN.model_title(entry.model) == "VAE (16 to 64 channels)"
    assert DOMAIN.sampling_slug(entry.sampling[0]) == "t1"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"data": {"size": 36}}, "experiments.a.data.size: 36 cannot be halved 3 times, .* Allowed: 8, 16, 24, 32"),
        ({"data": {"rows": 8}}, "experiments.a.training.batch_size: 16 is more than the 8 images"),
        ({"data": {"name": "lro"}}, "experiments.a.data.name: 'lro' is not a packaged data set"),
        ({"data": {"color": "grey"}}, "experiments.a.data.color: 'grey' is not allowed; did you mean 'gray'"),
        ({"model": {"channels": []}}, r"experiments.a.model.channels: \[\] is not allowed"),
        ({"training": {"kl_weight": 0}}, "experiments.a.training.kl_weight: 0 is not allowed: it must be more than 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(sections: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        checked(**sections)


def test_a_later_training_set_smaller_than_a_batch_is_refused_where_the_images_are_counted() -> None:
    entry = {**EXPERIMENT, "regimes": ["less"]}
    study = {"regimes": {"less": {"parts": [{"from": "previous", "amount": 0.1}]}}, "experiments": {"a": entry}}
    check(study)
    entry["data"] = {**entry["data"], "rows": 100}
    with pytest.raises(UserError, match="16 is more than the 10 rows that regime 'less' trains on at iteration 2"):
        check(study)


def test_what_a_plateau_watches_is_not_trained_on() -> None:
    def most(**data: Any) -> int:
        entry = {**EXPERIMENT, "data": {**data, "rows": 100}, "training": {"batch_size": 16, "schedule": "plateau"}}
        found = DOMAIN.known_rows(Experiment.model_validate(entry))
        assert found is not None
        return found[0]

    assert most(source="hub", name="a/b", validation_fraction=0.2) == 80
    assert most(source="hub", name="a/b", validation_split="validation") == 100
    assert most(source="hub", name="a/b", validation_fraction=0.2, person="id") == 99, "persons may have one image"
    with pytest.raises(UserError, match="batch_size: 16 is more than the 15 images to train on"):
        checked(data={"rows": 16}, training={"schedule": "plateau"})


def test_a_plateau_watches_a_twentieth_of_the_train_rows_unless_data_name_a_validation_split() -> None:
    assert checked().data.validation_fraction is None
    assert not DOMAIN.watches_validation(checked().training)
    entry = checked(training={"schedule": "plateau"})
    assert entry.data.validation_fraction == 0.05
    assert DOMAIN.watches_validation(entry.training)
    assert "validation_fraction" in entry.data.plain and "validation_fraction" not in checked().data.plain
    given = checked(training={"schedule": "plateau"}, data={"validation_fraction": 0.2})
    assert given.data.validation_fraction == 0.2
    hub = {"source": "hub", "name": "a/b", "validation_split": "validation"}
    entry = Experiment.model_validate({**EXPERIMENT, "data": hub, "training": {"schedule": "plateau"}})
    assert entry.data.validation_fraction is None


def test_only_a_training_that_watches_it_reads_the_validation_split() -> None:
    for schedule, found in (("plateau", True), ("cosine", False)):
        entry = {**EXPERIMENT, "training": {**EXPERIMENT["training"], "schedule": schedule}}
        plan = plan_study({"experiments": {"a": entry}})
        for name in plan.models:
            inputs = plan.train_input(SimpleNamespace(model=name))
            assert ("validation" in inputs) == found
            assert inputs.get("validation", "validation").endswith("validation")


def test_the_grids_show_the_first_seed_and_both_ends_of_its_chains() -> None:
    rows = [
        {"experiment": name, "regime": regime, "sampling": "", "seed": seed, "iteration": iteration}
        for name, seeds in (("a", (4, 5)), ("b", (7,)))
        for seed in seeds
        for regime, last in (("replace", 3), ("accumulate", 2))
        for iteration in range(1, last + 1)
    ]
    assert [(row["experiment"], row["seed"]) for row in first_seeds(rows)] == [("a", 4)] * 5 + [("b", 7)] * 5
    shown = [(row["regime"], row["iteration"]) for row in ends(rows) if row["experiment"] == "a"]
    assert shown == [("replace", 1), ("replace", 3), ("accumulate", 1), ("accumulate", 2)]


@pytest.mark.parametrize(
    ("step", "leaves"),
    [
        ("train", ["model.sampler", "data.conversion", "data.readers", "metrics", "figures"]),
        ("generate", ["steps.train", "model.loss", "data.conversion", "metrics", "figures"]),
        ("evaluate_model", ["steps.train", "model.sampler", "metrics", "figures"]),
        ("evaluate_part", ["steps.train", "model.sampler", "model.network", "figures"]),
        ("prepare_data", ["steps.train", "model.network", "model.loss", "figures"]),
    ],
)
def test_a_step_depends_on_nothing_that_it_does_not_use(step: str, leaves: list[str]) -> None:
    unused = {f"selfloop.domains.image.{name}" for name in leaves}
    assert all(map(is_module, unused))  # else nothing is tested
    assert used_modules(f"selfloop.domains.image.steps.{step}").isdisjoint(unused)
