"""What is wrong with an experiment's settings is said before any work starts, and what an analysis shows."""

from typing import Any

import pytest
import torch

from selfloop.domains.molecule.config import Data, Model, Sampling
from selfloop.domains.molecule.domain import DOMAIN, SHAPING, shown
from selfloop.domains.molecule.model.network import build
from selfloop.errors import UserError
from selfloop.planning.check import check


def study(**changes: Any) -> dict[str, Any]:
    """A study of rdkit's molecules with some keys changed; a key is left out where its value is None."""
    entry: dict[str, Any] = {
        "domain": "molecule",
        "data": {"source": "rdkit", "molecules": 10, "conformers": 2, "test_molecules": 2},
        "training": {"batch_size": 8},
        "regimes": ["replace"],
        "iterations": 2,
        "seeds": [0],
    }
    for section, keys in changes.items():
        entry[section] = keys if isinstance(keys, list) else {**entry.get(section, {}), **keys}
    return {"experiments": {"m": entry}}


def test_what_decides_the_shapes_of_the_weights_is_an_architecture_of_its_own() -> None:
    def architecture(**model: Any) -> object:
        entry = check(study(model=model)).experiments["m"]
        return DOMAIN.architecture(entry.data, entry.model)

    def shapes(**model: Any) -> list[torch.Size]:
        return [weights.shape for weights in build(Model(**model), 0).parameters()]

    for key, value in {"cutoff": 5.0, "timesteps": 100, "beta_start": 1e-6, "beta_end": 0.01}.items():
        assert architecture(**{key: value}) == architecture()
        assert shapes(**{key: value}) == shapes()
    for key, value in {"hidden_size": 64, "global_layers": 2, "local_layers": 2, "edge_encoder": "shared"}.items():
        assert architecture(**{key: value}) != architecture()
        assert shapes(**{key: value}) != shapes()


def test_a_study_that_is_right_has_the_originals_settings_as_defaults() -> None:
    entry = check(study()).experiments["m"]
    assert entry.model.plain == {
        "hidden_size": 128,
        "global_layers": 6,
        "local_layers": 4,
        "cutoff": 10.0,
        "edge_encoder": "separate",
        "timesteps": 1000,
        "beta_start": 1e-7,
        "beta_end": 9e-3,
    }
    assert (entry.sampling[0].schedule, entry.sampling[0].steps) == ("strided", 50)
    assert entry.training.steps == 41000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": [{"steps": 2000}]}, r"sampling\[0\]\.steps: 2000 is more than model\.timesteps, 1000"),
        ({"training": {"batch_size": 32}}, r"training\.batch_size: 32 is more than the 18 conformations"),
        (
            {"training": {"batch_size": 32, "schedule": "cosine"}},
            r"training\.batch_size: 32 is more than the 20 conformations",
        ),
        ({"data": {"rows": 5}}, r"training\.batch_size: 8 is more than the 5 conformations"),
        ({"model": {"beta_start": 0.5}}, r"model\.beta_start: 0\.5 is more than model\.beta_end"),
        ({"data": {"source": "pdb"}}, r"data\.source: 'pdb' is not allowed.*rdkit, sdf, rdkit_folder, geodiff"),
        ({"data": {"source": "sdf", "train": "absent.sdf"}}, r"data\.train: 'absent\.sdf' names no file"),
        ({"data": {"molecules": None}}, r"data\.molecules: null is not allowed with source: rdkit"),
        ({"data": {"test_molecules": None}}, r"data\.test_molecules: null is not allowed with source: rdkit"),
        (
            {"data": {"source": "rdkit_folder", "folder": "geom", "test_molecules": None}},
            r"data\.test_molecules: null is not allowed with source: rdkit",
        ),
        ({"data": {"train": "mine.sdf"}}, r"data\.train: 'mine\.sdf' is given with source: rdkit \(allowed is null\)"),
        ({"data": {"test": ["mine.sdf"]}}, r"data\.test: \['mine\.sdf'\] is given with source: rdkit"),
        ({"data": {"folder": "geom"}}, r"data\.folder: 'geom' is given with source: rdkit"),
        (
            {"data": {"source": "rdkit_folder", "folder": "geom", "train": "a.sdf"}},
            r"data\.train: 'a\.sdf' is given with",
        ),
        ({"sampling": [{"schedule": "strode"}]}, r"schedule: 'strode' is not allowed.*strided"),
    ],
)
def test_what_is_wrong_is_named_with_what_it_held_and_what_is_allowed(changes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(study(**changes))


def test_a_key_of_another_source_that_is_inherited_can_be_taken_back() -> None:
    check(study(data={"folder": None, "train": None}))
    with pytest.raises(UserError, match=r"data\.folder: null is not allowed with source: rdkit_folder"):
        check(study(data={"source": "rdkit_folder", "folder": None}))


def test_names_of_data_and_samplings() -> None:
    assert DOMAIN.data_slug(Data(source="sdf", train=["some/My file.sdf.gz"])) == "my-file"
    assert DOMAIN.data_slug(Data(source="rdkit_folder", folder="data/rdkit_folder/")) == "rdkit-folder"
    assert DOMAIN.sampling_slug(Sampling(schedule="noisiest")) == "noisiest50"
    assert titles({}, {"schedule": "all"}) == ["strided, 50 steps", "all steps"]


def titles(*samplings: dict[str, Any]) -> list[str]:
    """What tables call a study's samplings."""
    entry = check(study(sampling=list(samplings))).experiments["m"]
    return [DOMAIN.sampling_title(sampling) for sampling in entry.sampling]


def test_tables_tell_samplings_apart_by_every_key_that_shapes_the_samples() -> None:
    late = {"global_below": 1, "global_weight": 0.5}
    assert titles({}, {"step_size": 2.0e-6}, late, {"schedule": "all", "clip": 100}) == [
        "strided, 50 steps",
        "strided, 50 steps, step_size=2e-06",
        "strided, 50 steps, global_below=1.0, global_weight=0.5",
        "all steps, clip=100.0",
    ]
    defaults = Sampling().plain
    assert {key: defaults[key] for key in SHAPING} == SHAPING
    assert set(defaults) == {"schedule", "steps", *SHAPING, "batch_size"}


def test_samplings_of_the_same_samples_have_one_title_and_are_refused() -> None:
    with pytest.raises(UserError, match=r"sampling\[1\]: tables call it 'strided, 50 steps', and sampling\[0\]"):
        titles({}, {"batch_size": 8})


@pytest.mark.parametrize(("data", "rows"), [({}, 4), ({"rows": 15}, 3)])
def test_a_later_training_set_smaller_than_a_batch_is_refused(data: dict[str, Any], rows: int) -> None:
    changed = study(data=data, regimes=["less"])
    changed["regimes"] = {"less": {"parts": [{"from": "previous", "amount": 0.2}]}}
    with pytest.raises(UserError, match=rf"8 is more than the {rows} rows that regime 'less' trains on at iteration 2"):
        check(changed)


def test_the_panel_shows_replace_and_accumulate_of_one_chain_at_the_first_second_and_last_iteration() -> None:
    rows = [
        {"experiment": e, "sampling": s, "seed": seed, "regime": regime, "iteration": n}
        for e in ("a", "b")
        for s in ("x", "y")
        for seed in (0, 1)
        for regime in ("replace-multiple", "replace", "accumulate")
        for n in (1, 2, 3, 4)
    ]
    found = shown(rows)
    assert [(row["regime"], row["iteration"]) for row in found] == [
        (regime, n) for regime in ("replace", "accumulate") for n in (1, 2, 4)
    ]
    assert {(row["experiment"], row["sampling"], row["seed"]) for row in found} == {("a", "x", 0)}
    assert [a.step for a in DOMAIN.analyses({})] == ["plot_losses", "plot_conformers"]
