"""Filters are planned: candidates, scores, and the random twin."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfloop.errors import UserError
from selfloop.planning.check import check
from selfloop.planning.rules import Plan, plan_study
from selfloop.planning.size import sampled

LINE: dict[str, Any] = {"domain": "linear", "data": {"dimension": 2, "rows": 8}, "iterations": 3, "seeds": [0]}
FILTERS: dict[str, Any] = {
    "trusted": {"by": "residual", "candidates": 3},
    "each": {"by": "residual", "keep": "drawn", "each": True, "candidates": 3},
}
REGIMES: dict[str, Any] = {
    "verified": {"parts": [{"from": "previous", "filter": "trusted"}], "control": "random"},
    "half": {"parts": [{"from": "all", "amount": 0.5, "filter": "trusted"}]},
    "curated": {"parts": [{"from": "previous", "amount": 0.5, "filter": "each"}]},
}


def config(*names: str, filters: Any = FILTERS, regimes: Any = REGIMES, **keys: Any) -> dict[str, Any]:
    return {"experiments": {"a": {**LINE, "regimes": list(names), **keys}}, "regimes": regimes, "filters": filters}


def takes(plan: Plan, regime: str, iteration: int) -> list[tuple[int, int, float]]:
    (chain,) = [chain for chain in plan.chains if chain.regime == regime]
    return [(take.iteration, take.part, round(take.amount, 6)) for take, _ in chain.models[iteration - 1].takes]


def test_as_many_candidates_are_sampled_as_the_filter_wants() -> None:
    plan = plan_study(config("verified", "half", "curated"))
    assert takes(plan, "verified", 3) == [(2, part, round(1 / 3, 6)) for part in range(3)]
    assert takes(plan, "half", 3) == [(1, 0, 0.25), (1, 1, 0.25), (2, 0, 0.25), (2, 1, 0.25)]
    assert takes(plan, "curated", 2) == [(1, part, round(0.5 / 3, 6)) for part in range(3)]


@pytest.mark.parametrize("name", ["verified", "verified-random", "half", "curated"])
def test_candidates_are_counted_before_they_are_planned(name: str) -> None:
    checked, plan = check(config("verified", "half", "curated")), plan_study(config("verified", "half", "curated"))
    (chain,) = [chain for chain in plan.chains if chain.regime == name]
    taken = sum(len(model.takes) for model in chain.models)
    assert sampled(checked.regimes[name], 3) == (sum(map(len, chain.parts)), taken)


def test_scores_are_computed_once_for_all_regimes_and_not_for_the_twin() -> None:
    plan = plan_study(config("verified", "curated"))
    assert [chain.regime for chain in plan.chains] == ["verified", "verified-random", "curated"]
    # Of model 1's three parts, which both regimes choose from by one scorer, and of each regime's model 2.
    assert len(plan.scores) == 3 + 3 + 3
    verified, twin, _ = plan.chains
    assert all(not model.scores for model in twin.models)
    assert twin.models[0].name == verified.models[0].name
    assert twin.models[1].name != verified.models[1].name


def test_twins_of_filters_with_as_many_candidates_are_one() -> None:
    filters = {"trusted": FILTERS["trusted"], "erring": {**FILTERS["trusted"], "noise": 0.5, "keep": "lowest"}}
    regimes = {name: {"parts": [{"from": "previous", "filter": name}], "control": "random"} for name in filters}
    plan = plan_study(config(*regimes, filters=filters, regimes=regimes))
    models = {chain.regime: [model.name for model in chain.models] for chain in plan.chains}
    assert models["trusted-random"] == models["erring-random"]
    assert models["trusted"][1] != models["erring"][1]


def test_scores_are_inputs_of_the_choice_and_made_of_the_part() -> None:
    plan = plan_study(config("verified"))
    model = plan.chains[0].models[1]
    inputs = plan.concatenate_input(SimpleNamespace(model=model.name))  # type: ignore[arg-type]
    assert inputs["scores"] == [score.file for score in model.scores]
    score = model.scores[0]
    job: Any = SimpleNamespace(model=score.part.model, part=score.part.name, score=score.name)
    assert plan.score_input(job) == {"part": score.part.folder}
    scorer: Any = plan.score_settings(job)["scorer"]
    assert scorer["candidates"] == 2, "what its scores do not depend on is a default"


RESERVE = {**LINE["data"], "reserve": 2.0}


def test_an_oracle_is_trained_on_the_train_rows_and_the_whole_reserve() -> None:
    plan = plan_study(config("verified", filters={**FILTERS, "trusted": {"by": "oracle"}}, data=RESERVE, seeds=[0, 1]))
    referees = [model for model in plan.models.values() if model.iteration == 0]
    assert [model.seed for model in referees] == [0, 1]
    assert not any(referee in chain.models for chain in plan.chains for referee in referees)
    train, reserve = (f"results/data/{referees[0].experiment.real_name}/{split}" for split in ("train", "reserve"))
    assert [(take.amount, take.fresh, folder) for take, folder in referees[0].takes] == [
        (1.0, False, train),
        (2.0, True, reserve),
    ]
    score = plan.chains[0].models[1].scores[0]
    job: Any = SimpleNamespace(model=score.part.model, part=score.part.name, score=score.name)
    checkpoint = f"results/models/{referees[0].name}/checkpoint"
    assert plan.score_input(job) == {"part": score.part.folder, "checkpoint": checkpoint}
    assert "/seed0/" in referees[0].name
    assert "/seed0/" in score.part.model


def test_a_detector_compares_a_part_with_the_real_train_rows() -> None:
    plan = plan_study(config("verified", filters={**FILTERS, "trusted": {"by": "detector"}}))
    score = plan.chains[0].models[1].scores[0]
    job: Any = SimpleNamespace(model=score.part.model, part=score.part.name, score=score.name)
    assert plan.score_input(job) == {"part": score.part.folder, "real": plan.chains[0].models[0].real("train")}


def test_scores_of_another_program_or_version_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def name(**keys: Any) -> str:
        by = {"by": "command", "command": ["python", "verify.py"], **keys}
        plan = plan_study(config("verified", filters={**FILTERS, "trusted": by}))
        return plan.chains[0].models[1].scores[0].name

    Path("verify.py").write_text("print(1)")
    Path("verify.py").chmod(0o755)
    first = name()
    Path("verify.py").write_text("print(23)")
    assert len({first, name(), name(version="2"), name(command=["./verify.py"])}) == 4
    assert name() == name(keep="above", threshold=0.5, candidates=5), "how rows are kept changes no score"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["verify"], "program 'verify' is not on PATH; give its path, such as ./verify."),
        ([""], "program '' is not on PATH; give its path, such as ./verify."),
        (["./verify"], "file './verify' not found; paths are relative to {here}."),
        (["bin/"], "file 'bin/' not found; paths are relative to {here}."),
        (["./plain"], "'./plain' is not executable; make it so (chmod +x), or name an interpreter before it."),
        (["python", "-u", "verify.py"], "file 'verify.py' not found; paths are relative to {here}."),
        (["python", "plain", "--rules=other.py"], None),
        (["python", "-c", "print(1)"], None),
    ],
)
def test_a_program_that_cannot_be_run_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], expected: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bin").mkdir()
    Path("plain").touch(mode=0o644)
    study = config("verified", filters={**FILTERS, "trusted": {"by": "command", "command": command}})
    if expected is None:
        check(study)
        return
    with pytest.raises(UserError) as caught:
        check(study)
    assert str(caught.value) == f"filters.trusted.command: {expected.format(here=tmp_path)}"


def test_a_checkpoint_that_a_filter_names_is_known_by_its_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = {
        "domain": "image",
        "data": {"source": "packaged", "name": "orl", "size": 32},
        "iterations": 2,
        "seeds": [0],
    }
    study = {
        "experiments": {"a": {**image, "regimes": ["verified"]}},
        "regimes": {"verified": REGIMES["verified"]},
        "filters": {"trusted": {"by": "reconstruction", "of": "theirs", "candidates": 3}},
    }
    with pytest.raises(SystemExit, match="'theirs' is not a folder of a checkpoint"):
        plan_study(study)
    Path("theirs").mkdir()
    of_others = {"model_type": "convolutional-vae", "image_size": 64, "color": "rgb"}
    for config_json, problem in (
        ("not JSON", "'theirs' is not a checkpoint of this domain, whose config.json has convolutional-vae."),
        (json.dumps({"model_type": "gpt2"}), "'theirs' is not a checkpoint of this domain"),
        (json.dumps(of_others), "'theirs' is of rgb images of 64 pixels, not of rgb ones of 32, as data.color and"),
    ):
        Path("theirs/config.json").write_text(config_json)
        with pytest.raises(SystemExit, match=f"filters.trusted.of: {problem}"):
            plan_study(study)
    names = []
    for latent in (8, 16):
        Path("theirs/config.json").write_text(json.dumps({**of_others, "image_size": 32, "latent": latent}))
        plan = plan_study(study)
        score = plan.chains[0].models[1].scores[0]
        names.append(score.name)
        job: Any = SimpleNamespace(model=score.part.model, part=score.part.name, score=score.name)
        assert plan.score_input(job) == {"part": score.part.folder}
        assert plan.score_settings(job)["contents"] == score.contents
    assert names[0] != names[1]


@pytest.mark.parametrize("of", ["first", "sampler", "referee"])
def test_rows_are_scored_under_the_model_that_is_asked_for(of: str) -> None:
    data = {"source": "packaged", "name": "orl", "size": 32, "reserve": 1.0}
    experiment = {"domain": "image", "data": data, "regimes": ["verified"], "iterations": 3, "seeds": [0]}
    plan = plan_study(
        {
            "experiments": {"a": experiment},
            "regimes": {"verified": {"parts": REGIMES["verified"]["parts"]}},
            "filters": {"trusted": {"by": "reconstruction", "of": of, "candidates": 2}},
        }
    )
    (chain,) = plan.chains
    referees = [model.name for model in plan.models.values() if model.iteration == 0]
    assert len(referees) == (of == "referee")
    for iteration in (2, 3):
        scores = chain.models[iteration - 1].scores
        under = {"first": chain.models[0].name, "sampler": chain.models[iteration - 2].name, "referee": referees[:1]}[
            of
        ]
        assert [score.under for score in scores] == [under[0] if of == "referee" else under] * 2
        for score in scores:
            job: Any = SimpleNamespace(model=score.part.model, part=score.part.name, score=score.name)
            assert plan.score_input(job)["checkpoint"] == f"results/models/{score.under}/checkpoint"


def test_a_checkpoint_of_text_needs_its_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("theirs").mkdir()
    Path("theirs/config.json").write_text("{}")
    with pytest.raises(UserError, match=r"filters.trusted.of: 'theirs' has no tokenizer.json, so it is not known"):
        check(config("verified", filters={**FILTERS, "trusted": {"by": "cross-entropy", "of": "theirs"}}))


def test_how_rows_are_chosen_is_part_of_a_models_name_and_the_filters_name_is_not() -> None:
    one = plan_study(config("verified"))
    renamed = {"verified": {"parts": [{"from": "previous", "filter": "other"}]}}
    same = plan_study(config("verified", filters={"other": FILTERS["trusted"]}, regimes=renamed))
    more = plan_study(config("verified", filters={**FILTERS, "trusted": {**FILTERS["trusted"], "noise": 0.1}}))
    names = [[model.name for model in plan.chains[0].models] for plan in (one, same, more)]
    assert names[0] == names[1]
    assert names[0][0] == names[2][0]
    assert not set(names[0][1:]) & set(names[2])


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"from": "previous", "filter": "trsted"}, "parts[0].filter: unknown filter 'trsted'; did you mean 'trusted'"),
        (
            {"from": "real", "filter": "trusted"},
            "'trusted' chooses among sampled rows, from: previous or all",
        ),
        ({"from": "previous", "random": True}, "parts[0].random: true is only allowed with a filter."),
        (
            {"from": "previous", "amount": 0.5, "rows": "same", "filter": "trusted"},
            "parts[0].rows: same is not allowed with a filter, which chooses the rows; leave it out.",
        ),
    ],
)
def test_what_is_wrong_with_a_filtered_line_is_said(part: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        check(config("verified", regimes={"verified": {"parts": [part]}}))
    assert expected in str(caught.value)


def test_only_a_regime_with_a_filter_has_a_random_twin() -> None:
    with pytest.raises(UserError) as caught:
        check(config("verified", regimes={"verified": {"parts": [{"from": "previous"}], "control": "random"}}))
    assert str(caught.value) == ("regimes.verified.control: random is only allowed with a filter in one of its parts.")
    parts = [{"from": "real", "filter": None}, *REGIMES["verified"]["parts"]]
    known = check(config("verified", regimes={"verified": {"parts": parts, "control": "random"}})).regimes
    assert [source.filter is not None for source in known["verified-random"].sources] == [False, True]


@pytest.mark.parametrize(
    ("changed", "keys", "expected"),
    [
        ({"by": "length"}, {}, "filters.trusted.by: domain 'linear', of experiments.a, has no 'length'"),
        ({"by": "residual", "center": [1.0]}, {}, "filters.trusted.center: 1 numbers; data.dimension, 2, are needed."),
        ({"by": "residual"}, {"simulation": {}}, "experiments.a.simulation: 'verified' has a filter"),
        ({"by": "oracle"}, {}, "experiments.a.data.reserve: filter 'trusted' needs one, as its referee is trained on"),
        ({"by": "command"}, {}, "filters.trusted.command: it is needed with by: command"),
        ({"by": "residual", "version": "2"}, {}, "filters.trusted.version: it is only allowed with by: command, not"),
        ({"by": "residual", "keep": "above"}, {}, "filters.trusted.threshold: it is needed with keep: above"),
        (
            {"by": "residual", "threshold": 1.0},
            {},
            "threshold: 1 is only allowed with keep: above or below, not",
        ),
        (
            {"by": "residual", "keep": "below", "threshold": 0.0, "each": True},
            {},
            "filters.trusted.each: true is not allowed with keep: below; take highest, lowest or drawn.",
        ),
        (
            {"by": "residual", "candidates": 1},
            {},
            "filters.trusted.candidates: 1 is not allowed",
        ),
    ],
)
def test_what_a_domain_cannot_score_is_said(changed: dict[str, Any], keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        check(config("verified", filters={**FILTERS, "trusted": changed}, **keys))
    assert expected in str(caught.value)
