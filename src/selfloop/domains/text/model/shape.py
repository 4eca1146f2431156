"""The sizes that make a transformer, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer; the names are those of the config's `model` section."""

    architecture: str
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    context: int
    vocabulary: int

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads


def shape_of(model: Mapping[str, Any]) -> Shape:
    """The shape that a config's `model` section describes."""
    sizes = {field.name: model[field.name] for field in fields(Shape)}
    sizes["intermediate_size"] = sizes["intermediate_size"] or 4 * sizes["hidden_size"]
    return Shape(**sizes)
