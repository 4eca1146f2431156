"""CPU time of jobs besides the work that is counted: starting, reading, writing, figures, comparing samples.

With these numbers, studies take what docs/performance.md says of the time asked for (`benchmarks/init.py`), on a
machine that takes YARDSTICK for the loop of `slowness`.
"""

import time

import numpy as np

from selfloop.operations.cost import Cost

YARDSTICK = 0.051  # seconds
SESSION = 4.0  # seconds of Snakemake itself
STEP = 0.25  # per job of the loop
SHOWN = 1.5  # per figure or table
LOOP = frozenset({"concatenate", "train", "generate", "evaluate_model", "evaluate_part"})


def overhead(cost: Cost) -> float:
    """Seconds on one CPU of the machine that was measured."""
    return sum(count * (STEP if rule in LOOP else SHOWN) for rule, count in cost.jobs.items())


def slowness() -> float:
    """How many times longer this machine takes for the same: a loop in Python and sorting, the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        np.sort(np.random.default_rng(0).random(300_000))
        sum(number * number % 7 for number in range(700_000))
        best = min(best, time.process_time() - began)
    return best / YARDSTICK
