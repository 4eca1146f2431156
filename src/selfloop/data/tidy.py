"""The columns of the three tidy tables of a study."""

import pyarrow as pa

from selfloop.data.learning_curve import COLUMNS

SERIES = ["experiment", "model", "sampling"]  # these tell the lines of a regime apart
CHAIN = pa.schema(
    [
        ("experiment", pa.string()),
        ("domain", pa.string()),
        ("model", pa.string()),
        ("regime", pa.string()),
        ("sampling", pa.string()),
        ("seed", pa.int64()),
        ("iteration", pa.int64()),
    ]
)
METRICS = pa.schema(
    [*CHAIN, ("part", pa.int16()), ("split", pa.string()), ("metric", pa.string()), ("value", pa.float64())]
)
PROFILE = pa.schema(
    [*CHAIN, ("measure", pa.string()), ("at", pa.float64()), ("value", pa.float64()), ("real", pa.float64())]
)
CURVES = pa.schema([*CHAIN, *COLUMNS])
