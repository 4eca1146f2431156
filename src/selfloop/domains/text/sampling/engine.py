"""What samples documents from a checkpoint: `torch` (our own sampler) or `vllm`, chosen by `sampling.engine`.

Every engine is a module with `sample(request)`; all take the same settings and give documents of the same law. This
file imports neither torch nor pyarrow: the vLLM worker, which has an environment of its own, imports it, too.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from selfloop.domains.text.config import Sampling

if TYPE_CHECKING:  # the Snakefile imports this file's neighbours
    import numpy as np


@dataclass(frozen=True)
class Request:
    """What an engine is asked for: one document per prompt.

    Attributes:
        checkpoint: the model's folder, as `checkpoint.save_checkpoint` writes it.
        prompts: int64 [documents, prompt length], begin-of-text first.
        sampling: the config's `sampling` entry.
        identity: names the part; its random numbers derive from it.
        precision: the number format to sample in, "auto", "bfloat16" or "float32".
        threads: CPU threads to use.
        gpus: GPUs that the step asked for; 0 where it takes what there is.
        on_tokens: told how many tokens were sampled since it was last told; 0 as soon as the model is ready.
        log: where the engine says what it did.
        first_row: the place of the first document within the part.
        part_rows: documents of the whole part; 0 where these are all.
    """

    checkpoint: Path
    prompts: "np.ndarray"
    sampling: Sampling
    identity: str
    precision: str = "auto"
    threads: int = 1
    gpus: int = 0
    on_tokens: Callable[[int], None] = lambda count: None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("selfloop"))
    first_row: int = 0
    part_rows: int = 0
