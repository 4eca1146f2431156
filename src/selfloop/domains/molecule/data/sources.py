"""Sources of real conformations: validation of a `data` section, without importing rdkit."""

import importlib.util
import os
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from selfloop.config.section import given
from selfloop.data import validation
from selfloop.domains.molecule.config import VALIDATION_KEYS, Data
from selfloop.inputs.files import unreadable
from selfloop.inputs.paths import matching_files

SMILES_FILE = "Data/NCI/first_5K.smi"
SUMMARIES = ("summary_drugs.json", "summary_qm9.json")
SPLITS = ("train", "test", "validation")
# Keys that name files, by source.
OF_SOURCE = {"rdkit": (), "sdf": SPLITS, "rdkit_folder": ("folder",), "geodiff": SPLITS}
SUFFIXES = {"sdf": (".sdf", ".sdf.gz"), "geodiff": (".pkl", ".pickle")}


def rdkit_smiles() -> Path | None:
    """rdkit's file of molecules from the NCI's open database, without importing rdkit; None if missing."""
    spec = importlib.util.find_spec("rdkit")
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        path = Path(folder) / SMILES_FILE
        if path.is_file():
            return path
    return None


def summary_file(folder: str) -> Path | None:
    """The summary file of GEOM's `rdkit_folder`, or None."""
    for name in SUMMARIES:
        path = Path(os.path.expanduser(folder)) / name
        if path.is_file():
            return path
    return None


def input_files(data: Data) -> list[str]:
    """The user's files that a `data` section reads; of GEOM's hundreds of thousands, the summary file."""
    if data.source == "rdkit":
        return []
    if data.source == "rdkit_folder":
        summary = summary_file(given(data.folder))
        return [] if summary is None else [str(summary)]
    return [str(path) for split in SPLITS for path in matching_files(getattr(data, split))[0]]


def problems(data: Data) -> Iterator[str]:
    """What is wrong with a `data` section beyond its schema; a sentence each, beginning with the key.

    GEOM's folder is not checked here, so that users who have not downloaded it can run the other experiments of the
    paper's study.
    """
    source = data.source
    for key in (*SPLITS, "folder"):
        if getattr(data, key) is not None and key not in OF_SOURCE[source]:
            yield f"data.{key}: {getattr(data, key)!r} is given with source: {source} (allowed is null)."
    if source == "rdkit" and rdkit_smiles() is None:
        yield f"data.source: rdkit needs the Python package `rdkit` with its {SMILES_FILE}, which is not there."
    if source in SUFFIXES:
        allowed = SUFFIXES[source]
        for split in SPLITS:
            paths, unmatched = matching_files(getattr(data, split))
            for pattern in unmatched:
                yield f"data.{split}: '{pattern}' names no file."
            for path in paths:
                problem = unreadable(path)
                if problem:
                    yield f"data.{split}: {problem}."
                elif not path.name.endswith(allowed):
                    yield f"data.{split}: '{path}' is not a file that {source} reads; allowed: {', '.join(allowed)}."
        for known, split in combinations(SPLITS, 2):
            both = set(matching_files(getattr(data, known))[0]) & set(matching_files(getattr(data, split))[0])
            if both:
                yield f"data.{split}: '{min(both)}' is among data.{known}, too; name files of other molecules."
    for problem in validation.problems(data, VALIDATION_KEYS):
        yield f"{problem}."
    if source == "geodiff" and data.test is None:
        yield "data.test: null is not allowed with source geodiff; name its test split, such as test_data_1k.pkl."
