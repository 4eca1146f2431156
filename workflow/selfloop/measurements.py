"""What an evaluation step writes: a JSON list of {split, metric, value, part}."""

import json
from collections.abc import Mapping
from pathlib import Path

from selfloop.whole import whole_file


def write_measurements(path: Path, split: str, values: Mapping[str, float], part: int | None = None) -> None:
    """Write the named values of one split; `part` says of which sampled part, None for the model itself."""
    rows = [{"split": split, "metric": metric, "value": value, "part": part} for metric, value in values.items()]
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
