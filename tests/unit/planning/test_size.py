"""Absurd but well-formed configs end in a message that names the key and the number, or in a plan, and soon."""

import time
from pathlib import Path
from typing import Any

import pytest

from selfloop.data import regimes
from selfloop.errors import UserError
from selfloop.inputs import paths
from selfloop.inputs.paths import TooMany, matching_files
from selfloop.planning import size, study
from selfloop.planning.check import check
from selfloop.planning.size import sampled

Config = dict[str, Any]
LINEAR: Config = {"domain": "linear", "data": {"dimension": 2, "rows": 8}, "regimes": ["replace"]}
LINEAR |= {"iterations": 2, "seeds": [0]}
TEXT: Config = LINEAR | {
    "domain": "text",
    "data": {"source": "packaged", "name": "shakespeare", "rows": 100},
    "model": {"architecture": "gpt2", "hidden_size": 16, "layers": 1, "heads": 2, "context": 32},
    "training": {"batch_size": 8},
}


def of(base: Config = LINEAR, **entries: Any) -> Config:
    return {"experiments": {"a": base | entries}}


def with_amount(amount: Any, origin: str = "previous") -> Config:
    return of(regimes=["own"]) | {"regimes": {"own": {"parts": [{"from": origin, "amount": amount}]}}}


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def aliases(depth: int) -> list[Any]:
    found: list[Any] = [0]
    for _ in range(depth):
        found = [found] * 10
    return found


def like(count: int) -> Config:
    chain: Config = {f"e{n}": {"like": f"e{n + 1}"} for n in range(count)}
    return {"experiments": chain | {f"e{count}": LINEAR}}


ABSURD: dict[str, tuple[Config, str]] = {
    "seeds": (
        of(seeds=list(range(100_000))),
        r"experiments.a.seeds: 100,000 is too many: regime 'replace' would have 200,000 models \(2 iterations x "
        r"100,000 seeds x 1 sampling\); at most 20,000.",
    ),
    "a seed twice among many": (of(seeds=[*range(100_000), 7]), "experiments.a.seeds: .* 7 is in it twice"),
    "iterations": (
        of(iterations=10**12),
        r"experiments.a.iterations: 1,000,000,000,000 is too many: .* would have 1,000,000,000,000 models",
    ),
    "iterations of accumulate": (
        of(regimes=["accumulate"], iterations=3000),
        r"experiments.a.iterations: 3,000 is too much: under regime 'accumulate', the training sets would be made of "
        r"\S+ data sets in all; at most 1,000,000.",
    ),
    "jobs of several regimes": (
        of(regimes=["replace", "accumulate"], iterations=3, seeds=list(range(6000))),
        "experiments.a: with regime 'accumulate', the study would have more than .* jobs; at most 100,000.",
    ),
    "amount": (
        with_amount(1e9),
        r"regimes.own.parts\[0\].amount: 1e\+09 is too much: under regime 'own', .* 1,000,000,001 data sets",
    ),
    "amount of real rows": (with_amount(1e9, "real"), r"regimes.own.parts\[0\].amount: 1e\+09 is too much"),
    "schedule": (with_amount([1e18], "all"), r"regimes.own.parts\[0\].amount: 1e\+18 is too much"),
    "grid": (
        of(simulation={"grid": [{"dimension": list(range(1, 101)), "rows": list(range(200, 10_200))}]}),
        "experiments.a.simulation.grid: 1,000,000 settings under 1 regimes are 1,000,000 jobs; at most 10,000.",
    ),
    "grid line twice": (of(simulation={"grid": [{}] * 9000}), r"simulation.grid\[1\]: .* stands in the grid twice"),
    "size of a matrix": (
        of(data={"dimension": 10_000, "rows": 100_000_000}),
        "experiments.a.data.rows: 100,000,000 rows of dimension 10,000 are more than 1,000,000,000 numbers, 8.00 GB",
    ),
    "hidden_size": (
        of(TEXT, model=TEXT["model"] | {"hidden_size": 10**9}),
        "experiments.a.model: it would have .* parameters .model.hidden_size, .*, and need .* of memory; at most 100G",
    ),
    "layers": (of(TEXT, model=TEXT["model"] | {"layers": 10**18}), "experiments.a.model: it would have .* parameters"),
    "like": (like(1500), "experiments: 1,501 are more than a study can have; at most 1,000."),
    "samplings": (
        of(TEXT, sampling=[{"temperature": 1 + n} for n in range(10_000)]),
        "experiments.a.sampling: 10,000 entries; at most 1,000.",
    ),
    "nesting": (of(seeds=nested(500)), "experiments.a.seeds: lists and mappings are nested more than 40 deep."),
    "deep nesting": (
        of(seeds=nested(100_000)),
        "experiments.a.seeds: lists and mappings are nested more than 40 deep.",
    ),
    "aliases": (of(seeds=aliases(30)), "more than 200,000 values, those of aliases .* counted each time."),
    "a long string": (
        of(domain="a" * 10**6),
        r"experiments.a.domain: 'a+\.\.\. has 1,000,000 characters; at most 10,000",
    ),
    "a long key": (of(**{"a" * 10**6: 1}), r"experiments.a: the key 'a+\.\.\. has 1,000,000 characters; at most 200"),
    "a huge integer": (of(seeds=[10**400]), r"experiments.a.seeds\[0\]: it is beyond what a number can be here"),
    "globs": (
        of(TEXT, data={"source": "files", "train": ["*.txt"] * 100_000}),
        "experiments.a.data: 100,000 globs; at most 1,000.",
    ),
    "NUL": (of(TEXT, data={"source": "files", "train": "a\0b"}), "experiments.a.data.train: .* is not one of a text"),
    "half a surrogate pair": (of(domain="\ud800"), "experiments.a.domain: .* is not one of a text"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_what_would_take_minutes_is_refused_at_once(name: str) -> None:
    config, message = ABSURD[name]
    began = time.process_time()
    with pytest.raises(UserError, match=message) as said:
        check(config)
    assert time.process_time() - began < 2
    assert len(str(said.value)) < 500 and "\n" not in str(said.value)


def test_long_chains_of_like_are_followed() -> None:
    checked = check(like(999))
    assert checked.experiments["e0"].plain["data"] == checked.experiments["e999"].plain["data"]
    circle = {f"e{n}": {"like": f"e{(n + 1) % 1000}"} for n in range(1000)}
    with pytest.raises(UserError, match=r"experiments.e999.like: 'e0' leads back to 'e999'"):
        check({"experiments": circle})


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("regime", [*regimes.BUILT_IN, "own", "scheduled", "window", "aged", "young", "rescue"])
def test_what_is_counted_is_what_is_built(regime: str, iterations: int) -> None:
    own = {
        "own": {"parts": [{"from": "previous", "amount": 2.5}, {"from": "all", "amount": "iteration"}]},
        "scheduled": {"parts": [{"from": "real", "amount": 0.5}, {"from": "all", "amount": [3.0, 0.5, 2.0]}]},
        "window": {"parts": [{"from": "all", "last": 2, "amount": [3, 1, 2, 1]}]},
        "aged": {"parts": [{"from": "all", "by_age": [1, 2.5, 0]}, {"from": "previous", "amount": [0, 2, 0]}]},
        "young": {"parts": [{"from": "all", "by_age": [1, 2.5, 3], "last": 2}]},
        "rescue": {"parts": [{"from": "fresh", "amount": [0, 0, 0.5]}, {"from": "previous", "weight": 2}]},
    }
    data = {"dimension": 2, "rows": 8, "reserve": 4}
    checked = check(of(regimes=[regime], iterations=iterations, data=data) | {"regimes": own})
    built = study.build(checked)
    taken = sum(len(model.takes) for model in built.models.values())
    assert sampled(checked.regimes[regime], iterations) == (len(built.parts), taken)


def test_the_largest_studies_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "MOST_MODELS", 2)
    check(of())
    with pytest.raises(UserError, match=r"experiments.a.iterations: 3 is too many"):
        check(of(iterations=3))


def test_a_glob_that_looks_at_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/b/c.txt", "a/d.txt", "e/f.txt", ".hidden/many.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e/circle").symlink_to(tmp_path)
    monkeypatch.setattr(paths, "LOOKED_AT", 7)
    assert [path.name for path in matching_files("a/**/*.txt")[0]] == ["c.txt", "d.txt"]
    assert [path.name for path in matching_files("*/*.txt")[0]] == ["d.txt", "f.txt"]
    for pattern in ("**", "**/*.txt", f"{tmp_path}/**"):
        with pytest.raises(
            TooMany, match=r"has to look at more than 7 files and folders; name a folder nearer to the files"
        ):
            matching_files(pattern)
    with pytest.raises(UserError, match=r"^experiments.a.data: '\*\*' has to look at more than 7 files and folders"):
        check(of(TEXT, data={"source": "files", "train": "**"}))
