"""What an evaluation step writes: a JSON list of {split, metric, value, part}."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from selfloop.data.atomic import whole_file


def write_measurements(
    path: Path,
    split: str,
    values: Mapping[str, float],
    part: int | None = None,
    others: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> None:
    """Write the named values of one split, and of others; `part` says of which sampled part, None for the model."""
    rows = [
        {"split": each, "metric": metric, "value": value, "part": part}
        for each, named in {split: values, **others}.items()
        for metric, value in named.items()
    ]
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
