"""What a plan keeps of Snakemake's work, against what Snakemake works out itself."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from snakemake import common, resources, rules, script
from snakemake.sourcecache import LocalSourceFile, SourceCache

from selfloop.session.compat import keep_what_repeats, kept_by_function, kept_by_path, kept_by_source


class Sizes:
    """Holds a method as a plan does."""

    def of(self, wildcards: Any, attempt: int = 1, **others: Any) -> int:
        """A value that nobody asks for."""
        return attempt


def alone(wildcards: Any, *, threads: int) -> int:
    """A function that is no method."""
    return threads


def test_signatures_are_those_that_snakemake_finds() -> None:
    kept = kept_by_function(common.get_function_params)
    for function in (alone, Sizes().of, Sizes.of, lambda w, input: w, len, Sizes().of, alone):
        assert dict(kept(function)) == dict(inspect.signature(function).parameters)


def test_a_function_is_parsed_once_and_so_is_a_method_of_many_objects() -> None:
    parsed: list[Any] = []

    def parse(function: Any) -> Any:
        parsed.append(function)
        return common.get_function_params(function)

    kept = kept_by_function(parse)
    for _ in range(3):
        kept(alone)
        kept(Sizes().of)
    assert len(parsed) == 2


@pytest.fixture
def sources(tmp_path: Path) -> SourceCache:
    """Snakemake's copies of sources."""
    cache = SourceCache(tmp_path / "cache", tmp_path / "run")
    (tmp_path / "step.py").write_text("print(1)\n", encoding="utf-8")
    (tmp_path / "a.py").write_text("a\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("b\n", encoding="utf-8")
    return cache


def test_the_source_of_a_script_is_the_one_that_snakemake_reads(sources: SourceCache, tmp_path: Path) -> None:
    kept, base = kept_by_path(script.get_source), LocalSourceFile(str(tmp_path))
    for _ in range(2):
        found = kept("step.py", sources, base, {}, {})
        assert found[1:4] == script.get_source("step.py", sources, base, {}, {})[1:4] == ("print(1)\n", "python", True)


def test_a_script_named_by_wildcards_is_read_for_each_of_them(sources: SourceCache, tmp_path: Path) -> None:
    kept, base = kept_by_path(script.get_source), LocalSourceFile(str(tmp_path))
    assert [kept("{wildcards[x]}.py", sources, base, {"x": x}, {})[1] for x in "ab"] == ["a\n", "b\n"]


def test_a_script_that_is_not_there_is_still_an_error(sources: SourceCache, tmp_path: Path) -> None:
    kept = kept_by_source(SourceCache._cache)
    for _ in range(2):
        with pytest.raises(OSError, match=r"none\.py"):
            kept(sources, LocalSourceFile(str(tmp_path / "none.py")))


def test_the_pinned_snakemake_has_all_that_is_kept() -> None:
    keep_what_repeats()
    keep_what_repeats()
    kept = common.get_function_params
    assert kept is rules.get_function_params
    assert [f.__module__ for f in (kept, script.get_source, SourceCache._cache)] == ["selfloop.session.compat"] * 3
    # Applied once, however often it is asked for: what it wraps is Snakemake's own.
    assert inspect.getclosurevars(kept).nonlocals["parameters"].__module__ == "snakemake.common"
    assert resources.get_input_function_aux_params(alone, {"threads": 2, "input": 0}) == {"threads": 2}
