"""Which artifacts a study consists of, what they share, and what a change of the config renames."""

import copy
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfloop import identity
from selfloop.errors import UserError
from selfloop.identity import digest, slug, stream
from selfloop.planning import study
from selfloop.planning.artifacts import Chain, Part, Simulation
from selfloop.planning.check import check
from selfloop.planning.rules import plan_study

BASE: dict[str, Any] = {
    "experiments": {
        "a": {
            "domain": "text",
            "data": {"source": "packaged", "name": "shakespeare", "rows": 100},
            "model": {"architecture": "gpt2", "hidden_size": 16, "layers": 1, "heads": 2, "context": 32},
            "training": {"batch_size": 8},
            "regimes": ["replace", "accumulate", "replace-multiple"],
            "iterations": 3,
            "seeds": [0],
        }
    }
}


def build(change: Callable[[dict[str, Any]], None] = lambda config: None) -> study.Study:
    """The study of the base config after a change of it."""
    changed = copy.deepcopy(BASE)
    change(changed)
    return study.build(check(changed))


def of(**entries: Any) -> study.Study:
    """The study of the base config with some keys of its experiment replaced."""
    return build(lambda config: config["experiments"]["a"].update(entries))


def names(study: study.Study) -> set[str]:
    """All folders of models and parts."""
    return set(study.models) | {part.folder for part in study.parts.values()}


def chain(study: study.Study, regime: str, seed: int = 0, sampling: int = 0) -> Chain:
    experiment = study.experiments[0]
    return next(
        chain
        for chain in study.chains
        if (chain.regime, chain.seed, chain.sampling) == (regime, seed, experiment.sampling[sampling])
    )


# Counted by hand. A chain of n iterations has n models. Of the parts, every model samples part 0; what a regime takes
# besides is named. Iteration 1, its model and part 0, is shared by all regimes of a seed.
@pytest.mark.parametrize(
    ("entries", "models", "parts"),
    [
        ({"regimes": ["replace"], "iterations": 1}, 1, 1),
        ({"regimes": ["replace"], "iterations": 4}, 4, 4),
        ({"regimes": ["accumulate"], "iterations": 4}, 4, 4),
        # model 1 samples 2 parts (for n=2), model 2 samples 3, model 3 samples 4, model 4 part 0 alone
        ({"regimes": ["replace-multiple"], "iterations": 4}, 4, 2 + 3 + 4 + 1),
        # 1 shared model and 2 of each regime; parts: model 1 has 0 and 1; replace and accumulate 2 each; r-m 3 + 1
        ({}, 1 + 3 * 2, 2 + 2 + 2 + 4),
        ({"seeds": [0, 1, 2]}, 3 * 7, 3 * 10),
        # the second sampling shares model 1 and nothing else: 6 more models, and all parts once more
        ({"sampling": [{}, {"temperature": 0.3}]}, 1 + 2 * 6, 2 * 10),
        # replace 2 and accumulate 4 iterations: 1 + 1 + 3
        ({"regimes": ["replace", "accumulate"], "iterations": {"replace": 2, "accumulate": 4}}, 5, 5),
        # accumulate-subsample has accumulate's table but another size, so it leaves it at iteration 2
        ({"regimes": ["accumulate", "accumulate-subsample"], "iterations": 3}, 1 + 2 + 2, 5),
        # no regime takes what a control's models sample, yet part 0 of each is measured
        ({"regimes": ["real", "real-multiple"], "iterations": 3}, 1 + 2 + 2, 5),
    ],
)
def test_a_study_has_just_the_artifacts_it_needs(entries: dict[str, Any], models: int, parts: int) -> None:
    built = of(**entries)
    assert (len(built.models), len(built.parts)) == (models, parts)


def test_a_part_is_named_once_however_many_training_sets_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[tuple[str, int]] = []
    name = study.Study._part

    def counted(self: study.Study, experiment: Any, model: Any, sampling: Any, index: int) -> Part:
        named.append((model.name, index))
        return name(self, experiment, model, sampling, index)

    monkeypatch.setattr(study.Study, "_part", counted)
    of(regimes=["accumulate"], iterations=20)
    assert len(named) == len(set(named)) == 20


def test_what_a_training_set_takes_is_told_with_every_field() -> None:
    every = build().models.values()
    assert [each.take_table for each in every] == [[asdict(take) for take, _ in each.takes] for each in every]


def test_the_text_of_a_study_is_short_however_large_it_is() -> None:
    # Snakemake takes the text of each method that it unpacks the inputs of.
    assert len(repr(build())) < 200


def test_a_study_has_one_chain_per_regime_sampling_and_seed() -> None:
    built = of(seeds=[0, 1], sampling=[{}, {"temperature": 0.3}])
    assert len(built.chains) == 3 * 2 * 2
    assert len(built.rows()) == 3 * 2 * 2 * 3
    assert {len(chain.models) for chain in built.chains} == {3}


def test_the_first_model_and_part_are_the_same_in_every_regime() -> None:
    built = build()
    regimes = ("replace", "accumulate", "replace-multiple")
    assert len({chain(built, regime).models[0].name for regime in regimes}) == 1
    assert len({chain(built, regime).parts[0][0].folder for regime in regimes}) == 1
    assert len({chain(built, regime).models[1].name for regime in regimes}) == 3


def test_samplings_share_the_first_model_and_no_part() -> None:
    built = of(regimes=["replace"], sampling=[{}, {"temperature": 0.3}])
    hot, cold = (chain(built, "replace", sampling=place) for place in (0, 1))
    assert [m.name == n.name for m, n in zip(hot.models, cold.models, strict=True)] == [True, False, False]
    folders = [{part.folder for parts in one.parts for part in parts} for one in (hot, cold)]
    assert folders[0].isdisjoint(folders[1])


def test_samplings_that_look_alike_in_their_slug_have_parts_of_their_own() -> None:
    built = of(regimes=["replace"], iterations=1, sampling=[{"top_k": 5}, {"top_k": 6}])
    assert len({part.folder for part in built.parts.values()}) == 2


def test_two_regimes_with_the_same_table_share_every_file() -> None:
    def same(config: dict[str, Any]) -> None:
        parts = [{"from": "real", "amount": 0.5}, {"from": "previous"}]
        config["regimes"] = {"one": {"parts": parts}, "other": {"parts": copy.deepcopy(parts)}}
        config["experiments"]["a"]["regimes"] = ["one", "other"]

    built = build(same)
    assert len(built.chains) == 2
    assert chain(built, "one").models == chain(built, "other").models
    assert chain(built, "one").parts == chain(built, "other").parts


def test_a_users_regime_with_a_built_in_table_shares_every_file_with_it() -> None:
    def like_accumulate(config: dict[str, Any]) -> None:
        config["regimes"] = {"mine": {"parts": [{"from": "real", "amount": 1}, {"from": "all"}]}}
        config["experiments"]["a"]["regimes"] = ["accumulate", "mine"]

    built = build(like_accumulate)
    assert chain(built, "mine").models == chain(built, "accumulate").models


def test_regimes_share_just_the_history_that_they_have_in_common() -> None:
    """Accumulate up to iteration 3, then half of the real rows."""

    def forks(config: dict[str, Any]) -> None:
        config["regimes"] = {"fork": {"parts": [{"from": "real", "amount": [1.0, 1.0, 0.5]}, {"from": "all"}]}}
        config["experiments"]["a"].update(regimes=["accumulate", "fork"], iterations=5)

    built = build(forks)
    ours, theirs = chain(built, "fork"), chain(built, "accumulate")
    same_models = [m.name == n.name for m, n in zip(ours.models, theirs.models, strict=True)]
    same_parts = [m == n for m, n in zip(ours.parts, theirs.parts, strict=True)]
    assert same_models == same_parts == [True, True, True, False, False]
    assert len(built.models) == 5 + 2


def add_experiment(config: dict[str, Any]) -> None:
    config["experiments"]["b"] = {"like": "a", "data": {"rows": 50}}


def add_model(config: dict[str, Any]) -> None:
    config["experiments"]["b"] = {"like": "a", "model": {"architecture": "llama"}}


def add_user_regime(config: dict[str, Any]) -> None:
    config["regimes"] = {"mine": {"parts": [{"from": "previous", "amount": 0.5}]}}
    config["experiments"]["a"]["regimes"].append("mine")


ADDITIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a seed": lambda config: config["experiments"]["a"].update(seeds=[0, 7]),
    "a seed in front": lambda config: config["experiments"]["a"].update(seeds=[7, 0]),
    "an iteration": lambda config: config["experiments"]["a"].update(iterations=4),
    "a built-in regime": lambda config: config["experiments"]["a"]["regimes"].append("accumulate-subsample"),
    "a regime of one's own": add_user_regime,
    "a temperature": lambda config: config["experiments"]["a"].update(sampling=[{}, {"temperature": 0.5}]),
    "a model": add_model,
    "an experiment": add_experiment,
}


@pytest.mark.parametrize("addition", ADDITIONS)
def test_an_addition_keeps_all_names_and_adds_some(addition: str) -> None:
    before, after = names(build()), names(build(ADDITIONS[addition]))
    assert before < after


def test_one_more_iteration_adds_one_model_and_its_part_per_chain() -> None:
    before, after = of(regimes=["replace", "accumulate"]), of(regimes=["replace", "accumulate"], iterations=4)
    assert len(set(after.models) - set(before.models)) == 2
    assert len(names(after) - names(before)) == 4


def test_neither_the_experiments_name_nor_the_order_of_keys_is_part_of_a_name() -> None:
    def renamed(config: dict[str, Any]) -> None:
        entry = config["experiments"].pop("a")
        entry["model"] = dict(reversed(entry["model"].items()))
        config["experiments"]["z"] = dict(reversed(entry.items()))

    assert names(build(renamed)) == names(build())


def test_another_temperature_keeps_the_first_models_and_renames_all_that_depends_on_it() -> None:
    before, after = of(seeds=[0, 1]), of(seeds=[0, 1], sampling=[{"temperature": 0.9}])
    first = {name for name, model in before.models.items() if model.iteration == 1}
    assert set(before.models) & set(after.models) == first
    assert len(first) == 2
    assert not {part.folder for part in before.parts.values()} & {part.folder for part in after.parts.values()}
    assert before.data.keys() == after.data.keys()


@pytest.mark.parametrize(
    ("section", "entry"),
    [("model", {"layers": 2}), ("training", {"learning_rate": 1e-3}), ("data", {"rows": 99}), ("data", {"seed": 1})],
)
def test_another_model_training_or_data_renames_all_models_and_parts(section: str, entry: dict[str, Any]) -> None:
    after = build(lambda config: config["experiments"]["a"][section].update(entry))
    assert names(build()).isdisjoint(names(after))


def test_experiments_on_the_same_data_share_the_prepared_data() -> None:
    built = build(add_model)
    assert len(built.data) == len(built.tokenizers) == 1
    assert len({experiment.real_name for experiment in built.experiments}) == 1
    assert len({experiment.setting_name for experiment in built.experiments}) == 2


def test_chains_may_have_real_data_of_their_own_seed() -> None:
    """Each seed then shares its data with an experiment that says that seed of the data."""
    drawn = of(data=BASE["experiments"]["a"]["data"] | {"seed": "per-chain"}, seeds=[0, 3])
    assert [chain.seed for chain in drawn.chains] == [0] * 3 + [3] * 3
    assert {chain.experiment.name for chain in drawn.chains} == {"a"}
    for seed in (0, 3):
        alone = of(data=BASE["experiments"]["a"]["data"] | {"seed": seed}, seeds=[seed])
        assert alone.data.keys() < drawn.data.keys()
        assert names(alone) < names(drawn)


def test_another_vocabulary_shares_the_documents_and_has_a_tokenizer_of_its_own() -> None:
    built = build(lambda config: config["experiments"].update(b={"like": "a", "model": {"vocabulary": 400}}))
    assert (len(built.data), len(built.tokenizers)) == (1, 2)
    assert len({experiment.real_name for experiment in built.experiments}) == 2


def test_every_model_takes_from_folders_of_the_study() -> None:
    built = of(seeds=[0, 1], sampling=[{}, {"temperature": 0.3}])
    real = {f"results/data/{experiment.real_name}/train" for experiment in built.experiments}
    folders = {part.folder for part in built.parts.values()}
    for model in built.models.values():
        assert {folder for _, folder in model.takes} <= (real if model.iteration == 1 else real | folders)
        assert built.models[model.first].iteration == 1
        assert built.models[model.first].seed == model.seed


def test_random_streams_never_collide() -> None:
    def two_architectures(config: dict[str, Any]) -> None:
        config["experiments"]["a"].update(seeds=list(range(10)), iterations=6)
        config["experiments"]["b"] = {"like": "a", "model": {"architecture": "llama"}}

    built = build(two_architectures)
    models = {(m.experiment.name, m.seed, m.iteration): m.streams for m in built.models.values()}
    parts = {(built.models[p.model].streams, p.index): p.streams for p in built.parts.values()}
    assert (len(models), len(parts)) == (2 * 10 * 6, 2 * 10 * (2 + 3 + 4 + 5 + 6 + 1))
    purposes = ["weights", "batches", "order", "budget", "rows of iteration 0, part 0, draw 0", "step 0", "step 1"]
    purposes += [f"block {number}" for number in range(5)]
    named = [*models.values(), *parts.values()]
    seeds = {stream(streams, purpose) for streams in named for purpose in purposes}
    assert len(seeds) == len(named) * len(purposes) > 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_of_other_purposes_parts_iterations_and_seeds_are_independent() -> None:
    """Of 1,000 numbers each; correlations of independent ones stay below 5 standard errors in all 276 pairs."""
    built = of(regimes=["replace-multiple"], seeds=[0, 1], iterations=2)
    named = [model.streams for model in built.models.values()] + [part.streams for part in built.parts.values()]
    purposes = ("weights", "batches")
    drawn = [np.random.default_rng(stream(s, purpose)).random(1000) for s in named for purpose in purposes]
    torch_drawn = [torch.rand(1000, generator=torch.Generator().manual_seed(stream(s, "block 0"))) for s in named]
    numbers = np.array([*drawn, *(one.numpy() for one in torch_drawn)])
    assert len(numbers) == 3 * (4 + 6)
    between = np.corrcoef(numbers)[np.triu_indices(len(numbers), 1)]
    assert np.abs(between).max() < 5 / 1000**0.5


def streams(study: study.Study) -> dict[tuple[int, int, int | None], set[str]]:
    """By seed, iteration and part (None for the model): the streams of all chains."""
    found: dict[tuple[int, int, int | None], set[str]] = {}
    for one in study.chains:
        for model, parts in zip(one.models, one.parts, strict=True):
            found.setdefault((one.seed, model.iteration, None), set()).add(model.streams)
            for part in parts:
                found.setdefault((one.seed, model.iteration, part.index), set()).add(part.streams)
    return found


def test_regimes_samplings_and_settings_of_a_training_share_the_streams_of_a_seed() -> None:
    def everything(config: dict[str, Any]) -> None:
        regimes = ["replace", "accumulate", "replace-multiple", "real", "real-multiple", "mine"]
        config["regimes"] = {"mine": {"parts": [{"from": "real", "amount": 0.5}, {"from": "all"}], "budget": 1.0}}
        config["experiments"]["a"].update(regimes=regimes, seeds=[0, 1], sampling=[{}, {"temperature": 0.3}])
        for key, value in {
            **{"learning_rate": 1e-3, "epochs": 2, "steps": 9, "batch_size": 4, "evaluations": 1, "evaluation_rows": 5},
            **{"compile": True, "packing": True, "precision": "float32", "first_iteration": {"epochs": 3}},
        }.items():
            config["experiments"][f"with-{key.replace('_', '-')}"] = {"like": "a", "training": {key: value}}
        config["experiments"]["written"] = {"like": "a", "model": {"intermediate_size": 64, "initializer_range": 0.04}}

    found = streams(build(everything))
    assert {len(each) for each in found.values()} == {1}
    assert len(set.union(*found.values())) == len(found) == 2 * (3 + 2 + 3 + 1)


@pytest.mark.parametrize(
    ("section", "entry"), [("model", {"layers": 2}), ("model", {"vocabulary": 400}), ("model", {"context": 16})]
)
def test_models_of_other_shapes_have_streams_of_their_own(section: str, entry: dict[str, Any]) -> None:
    after = build(lambda config: config["experiments"]["a"][section].update(entry))
    assert not set.union(*streams(build()).values()) & set.union(*streams(after).values())


def test_a_training_is_told_the_same_whatever_led_to_its_rows() -> None:
    """Under the control real, model 2 has the same rows with another model 1; where it lies is all that differs."""
    told = []
    for first in ({}, {"first_iteration": {"epochs": 3}}):
        plan = plan_study({"experiments": {"a": {**BASE["experiments"]["a"], "regimes": ["real"], "training": first}}})
        name = next(name for name, model in plan.models.items() if model.iteration == 2)
        told.append((plan.train_settings(SimpleNamespace(model=name)), name))
    (one, one_name), (other, other_name) = told
    assert one_name != other_name
    assert {**one, "state": ""} == {**other, "state": ""}


def test_a_digest_sees_values_and_not_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1, "b": [2]}) != digest({"a": 1, "b": [3]})
    assert digest([1, 2]) != digest([2, 1])


def test_what_the_users_files_hold_is_in_every_name_and_where_they_lie_in_time_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.txt"

    def named(text: str, date: float) -> set[str]:
        file.write_text(text * 20)
        os.utime(file, (date, date))
        return names(of(data={"source": "files", "train": "mine.txt"}, training={"batch_size": 2}))

    text, other = ("A story.\n<|endoftext|>\n", "A fable.\n<|endoftext|>\n")
    before = named(text, 0.0)
    assert named(text, 4e9) == before
    assert named(other, 0.0).isdisjoint(before)


def test_every_name_holds_64_bits_or_more_of_its_digest() -> None:
    built = of(regimes=["replace"], iterations=1)
    model, part = next(iter(built.models.values())), next(iter(built.parts.values()))
    simulated = Simulation(model.domain, {"seeds": 1})
    places = [model.experiment.data_name, model.experiment.tokenizer_name, *model.name.split("/")[::2]]
    for name in [*places, part.name, simulated.name]:
        assert re.search(r"(^|-)[0-9a-f]{16,}\Z", name), name


CLOSE: dict[str, dict[str, Any]] = {
    "data": {"data": {"rows": 101}},
    "tokenizer": {"model": {"vocabulary": 1001}},
    "model": {"training": {"batch_size": 9}},
}


@pytest.mark.parametrize("changed", CLOSE)
def test_two_experiments_that_would_get_one_name_are_refused(changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "IN_NAMES", 0)

    def two(config: dict[str, Any]) -> None:
        config["experiments"]["b"] = {"like": "a", **CLOSE[changed]}

    with pytest.raises(UserError, match=r"two different settings of this study would both be stored as '"):
        build(two)


def test_two_samplings_that_would_get_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """These two once shared 24 bits, and one of them showed the values of the other."""
    samplings = [{"top_p": 0.505717}, {"top_p": 0.508393}]
    assert len(of(regimes=["replace"], iterations=1, sampling=samplings).parts) == 2
    monkeypatch.setattr(identity, "IN_NAMES", 0)
    with pytest.raises(UserError, match="t1-part0-'"):
        of(regimes=["replace"], iterations=1, sampling=samplings)


@pytest.mark.parametrize("name", ["x" * 240, "\u5b57" * 80, "\U00020000" * 60, "a-" * 120, "."])
def test_a_long_name_of_the_user_s_is_cut_where_it_becomes_part_of_ours(name: str) -> None:
    cut = slug(name)
    assert cut and len(cut.encode()) <= 40 and cut == slug(cut)


def test_another_first_model_renames_what_is_measured_against_it() -> None:
    """A later model that takes real rows alone is trained alike, yet its parts are compared with the chain's first."""

    def real_alone(config: dict[str, Any]) -> None:
        config["experiments"]["a"]["regimes"] = ["real"]
        training = {"first_iteration": {"epochs": 2}}
        config["experiments"]["b"] = {"like": "a", "training": training}

    built = build(real_alone)
    assert len(built.models) == 6
    for chain in built.chains:
        assert {model.first for model in chain.models} == {chain.models[0].name}


def test_machines_whose_auto_precision_differs_run_different_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is bfloat16, the study is the one that says so; where steps may run elsewhere, names are as ever."""

    def precise(precision: str) -> set[str]:
        return names(of(training={"batch_size": 8, "precision": precision}))

    monkeypatch.setenv("SELFLOOP_GPUS", "")
    monkeypatch.setenv("SELFLOOP_AUTO_PRECISION", "float32")
    as_ever, bfloat16 = precise("auto"), precise("bfloat16")
    assert as_ever != bfloat16
    monkeypatch.setenv("SELFLOOP_AUTO_PRECISION", "bfloat16")
    assert precise("auto") == bfloat16
    assert precise("float32") not in (as_ever, bfloat16)
    monkeypatch.setenv("SELFLOOP_GPUS", "0")
    assert precise("auto") == as_ever


def test_on_a_cluster_each_node_chooses_unless_the_environment_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooses_bfloat16 = SimpleNamespace(precision="bfloat16")
    monkeypatch.setattr("selfloop.processor.processor", lambda: chooses_bfloat16)
    monkeypatch.setenv("SELFLOOP_GPUS", "")
    monkeypatch.delenv("SELFLOOP_AUTO_PRECISION", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    alone = names(of())
    (tmp_path / "sbatch").touch(mode=0o755)
    by_node = names(of())
    assert alone != by_node
    monkeypatch.setenv("SELFLOOP_AUTO_PRECISION", "bfloat16")
    assert names(of()) == alone
