"""Spares Snakemake from working out again for every job what is the same for all jobs of a rule.

For each job of a plan, Snakemake 9 parses the signatures of the functions that give it inputs, params and resources,
and reads the source of the rule's script. In a study of 10,000 jobs that is a third of a dry-run
(benchmarks/dry_run.py). Both depend on nothing but the function and the file, so they are kept here after the first
time. Where a Snakemake has none of these functions, it plans as it always does, and slower.
"""

import types
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from snakemake import common, resources, rules, script
from snakemake.sourcecache import SourceCache, SourceFile

SIGNATURE = "get_function_params"
SOURCE = "get_source"


def keep_what_repeats() -> None:
    """Let this process's Snakemake parse each function, and read each script, once."""
    if not hasattr(common, SIGNATURE) or hasattr(getattr(common, SIGNATURE), "kept"):
        return
    signature = kept_by_function(getattr(common, SIGNATURE))
    for module in (common, resources, rules):
        if hasattr(module, SIGNATURE):
            setattr(module, SIGNATURE, signature)
    if hasattr(script, SOURCE) and hasattr(SourceCache, "_cache"):
        setattr(script, SOURCE, kept_by_path(getattr(script, SOURCE)))
        SourceCache._cache = kept_by_source(SourceCache._cache)


def kept_by_function(parameters: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same results; of the methods of one class, and of one function, parsed once."""
    of_methods: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
    of_functions: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def kept(function: Any) -> Any:
        if isinstance(function, types.MethodType):
            results, key = of_methods, function.__func__
        elif isinstance(function, types.FunctionType):
            results, key = of_functions, function
        else:
            return parameters(function)
        if key not in results:
            results[key] = parameters(function)
        return results[key]

    kept.kept = True  # type: ignore[attr-defined]
    return kept


def kept_by_path(get_source: Callable[..., Any]) -> Callable[..., Any]:
    """The same results, of a path without wildcards; what a run has read once, Snakemake itself takes from a copy."""
    sources: dict[tuple[Any, str, str], Any] = {}

    def kept(path: Any, sourcecache: Any, basedir: Any = None, wildcards: Any = None, params: Any = None) -> Any:
        written = text_of(path)
        if "{" in written:
            return get_source(path, sourcecache, basedir, wildcards, params)
        key = (sourcecache, written, "" if basedir is None else text_of(basedir))
        if key not in sources:
            sources[key] = get_source(path, sourcecache, basedir, wildcards, params)
        return sources[key]

    return kept


def kept_by_source(cache: Callable[..., Any]) -> Callable[..., Any]:
    """The same results, of a file that is already in Snakemake's copies of sources."""
    entries: dict[tuple[Any, str], Any] = {}

    def kept(sourcecache: Any, source_file: SourceFile) -> Any:
        key = (sourcecache, text_of(source_file))
        if key not in entries:
            entries[key] = cache(sourcecache, source_file)
        return entries[key]

    return kept


def text_of(path: Any) -> str:
    """A path as text, whichever of Snakemake's ways of naming a source it is."""
    return str(path.get_path_or_uri(secret_free=True)) if isinstance(path, SourceFile) else str(path)
