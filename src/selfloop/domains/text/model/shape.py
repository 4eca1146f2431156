"""The shape of a transformer and its number of parameters; no torch, since the Snakefile imports it."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

from selfloop.domains.text.config import Model, Origin


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
        """Width of an attention head."""
        return self.hidden_size // self.heads


def shape_of(model: Model) -> Shape:
    """The shape in a config's `model` section."""
    sizes = {field.name: getattr(model, field.name) for field in fields(Shape)}
    sizes["intermediate_size"] = sizes["intermediate_size"] or 4 * sizes["hidden_size"]
    return Shape(**sizes)


def parameter_count(model: Model) -> int:
    """Trainable parameters, tied embeddings counted once.

    Exact for both architectures: tests compare it with the module's own count and with `transformers`. Of a checkpoint,
    the numbers in its safetensors; 0 of one that is not here.
    """
    if isinstance(model.checkpoint, Origin):
        return 0
    if model.checkpoint is not None:
        return sum(_stored(path) for path in Path(model.checkpoint).glob("*.safetensors"))
    hidden, layers, vocabulary = model.hidden_size, model.layers, model.vocabulary
    inner: int = model.intermediate_size or 4 * hidden
    if model.architecture == "gpt2":
        block = 4 * hidden + (3 * hidden * hidden + 3 * hidden) + (hidden * hidden + hidden)
        block += (hidden * inner + inner) + (inner * hidden + hidden)
        return vocabulary * hidden + model.context * hidden + layers * block + 2 * hidden
    block = 2 * hidden + 4 * hidden * hidden + 3 * hidden * inner
    return 2 * vocabulary * hidden + layers * block + hidden


def _stored(path: Path) -> int:
    """Numbers in a safetensors file, by its header; 0 if it is none."""
    if not path.is_file():  # a FIFO would be waited for
        return 0
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RecursionError):
        return 0
