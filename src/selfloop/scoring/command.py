"""Scores by the user's own program: rows in, a number per row out."""

import base64
import json
import math
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from selfloop.config.filters import Filter
from selfloop.config.section import given
from selfloop.data.contents import unchanged
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.errors import UserError


def command_scores(scorer: Filter, part: Path, contents: str | None) -> npt.NDArray[np.float64]:
    """The score of each row of a part, float64 (rows,), by the program of `scorer`, which is run once per chunk.

    Its standard input has a JSON object per row with all columns of the part, bytes in base64. A program that needs
    more than the row, such as a model, loads it once per chunk.

    Args:
        scorer: with its `command` and `chunk`.
        part: the data set.
        contents: digest of the files that the command names, when the study was planned.

    Raises:
        UserError: the program cannot be run, fails, or does not print one finite number per row; or its files have
            changed.
    """
    command = given(scorer.command)
    found: list[npt.NDArray[np.float64]] = []
    shards = shard_paths(part)
    with unchanged(contents, lambda: scorer.files, "the files of a filter's command have"):
        for batch in iterate_rows(shards, pq.read_schema(shards[0]).names, scorer.chunk):
            text = "".join(f"{json.dumps(row, default=_text)}\n" for row in batch.to_pylist())
            begin = sum(map(len, found))
            where = f"filter command '{shlex.join(command)}', rows {begin} to {begin + batch.num_rows - 1} of {part}"
            found.append(_numbers(_printed(command, text, where), batch.num_rows, begin, where))
    return np.concatenate(found) if found else np.zeros(0)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return str(value)


def _printed(command: Sequence[str], text: str, where: str) -> list[str]:
    """The lines that a run of the program prints."""
    around = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}  # modules beside its script
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False, env=around
        )
    except OSError as error:
        raise UserError(f"{where}: it cannot be run ({error.strerror}).") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it printed no error"]
        ended = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        raise UserError(f"{where}: {ended}: {said[-1]}")
    return done.stdout.split()


def _numbers(lines: Sequence[str], rows: int, begin: int, where: str) -> npt.NDArray[np.float64]:
    if len(lines) != rows:
        raise UserError(f"{where}: it printed {len(lines):,} numbers for {rows:,} rows; print one per row.")
    values = np.zeros(rows)
    for row, line in enumerate(lines):
        try:
            values[row] = float(line)
        except ValueError:
            values[row] = math.nan
        if not math.isfinite(values[row]):
            raise UserError(f"{where}: it printed '{line[:40]}' for row {begin + row}; print a finite number.")
    return values
