"""Names that depend on just what a thing depends on, and the seeds of random streams."""

import hashlib
import json
from collections.abc import Iterable

IN_NAMES = 16  # hexadecimal characters of a digest that stand in a name: 64 bits
SLUG_BYTES = 40  # a file's name has at most 255, and names of artifacts add digests and suffixes


class Encoded(str):
    """The JSON text of a value, as `encoded` gives it: of what is part of thousands of values."""


def encoded(value: object) -> str:
    """The JSON text of a value; of equal values the same, whatever the order of their keys."""
    if isinstance(value, Encoded):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def encoded_list(values: Iterable[object]) -> Encoded:
    """The JSON text of a list, some of whose values may be encoded."""
    return Encoded(f"[{','.join(map(encoded, values))}]")


def digest(value: object) -> str:
    """128 bits of a JSON value in hexadecimal; of equal values the same, whatever the order of their keys."""
    return hashlib.sha256(encoded(value).encode()).hexdigest()[:32]


def short(identity: str) -> str:
    """The beginning of a digest, as it stands in names."""
    return identity[:IN_NAMES]


def slug(name: str, default: str = "data") -> str:
    """A name for paths: lower case, with hyphens for other characters than letters and digits, at most 40 bytes."""
    whole = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
    return whole.encode()[:SLUG_BYTES].decode(errors="ignore").strip("-") or default


def stream(streams: str, purpose: str) -> int:
    """The seed in [0, 2⁶³) of the stream for one purpose among `streams`; others have other seeds.

    Steps of the loop are told their `streams` by the study: those of a model are a digest of the architecture, the
    chain's seed and the iteration; those of a part, of these and its number. Settings and history are not part of it:
    what two regimes do alike they do with the same random numbers.
    """
    return int.from_bytes(hashlib.sha256(f"{streams}/{purpose}".encode()).digest()[:8], "big") >> 1
