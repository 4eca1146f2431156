"""The interface of sampling engines: `torch` (our own sampler) or `vllm`, selected by `sampling.engine`.

An engine is a module with `sample(request)`; all sample documents from the same distribution. Imports neither torch nor
pyarrow.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from selfloop.domains.text.config import Sampling
from selfloop.jobs.device import Device

if TYPE_CHECKING:
    import numpy as np

    from selfloop.training.slices import FinishedSlices


@dataclass(frozen=True)
class Request:
    """A request for one document per prompt.

    Attributes:
        checkpoint: the model's folder.
        prompts: int64 [documents, longest prompt], begin-of-text first; shorter ones end in -1.
        sampling: the config's `sampling` entry.
        streams: of the part, see `identity.stream`.
        precision: compute dtype: "auto", "bfloat16" or "float32".
        threads: CPU threads to use.
        gpus: GPUs that the step requested; 0 for any.
        on_tokens: called with the number of newly sampled tokens; with 0 once the model is loaded.
        log: prose for people.
        first_row: index of the first document within the part.
        part_rows: documents of the whole part; 0 if these are all.
        tokens: ids from this one on have no token and are never sampled; None if all of the model's have one.
        end: the id of end-of-text.
        finished: slices that an earlier attempt has sampled, and where to keep those of this one; only `torch` does.
        uses: called with what the engine computes on.
    """

    checkpoint: Path
    prompts: "np.ndarray"
    sampling: Sampling
    streams: str
    precision: str = "auto"
    threads: int = 1
    gpus: int = 0
    on_tokens: Callable[[int], None] = lambda count: None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("selfloop"))
    first_row: int = 0
    part_rows: int = 0
    tokens: int | None = None
    end: int = 0
    finished: "FinishedSlices | None" = None
    uses: Callable[[Device], None] = lambda device: None
