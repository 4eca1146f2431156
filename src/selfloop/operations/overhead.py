"""CPU time of jobs besides the work that is counted: starting, reading, writing, figures, comparing samples.

Measured with `benchmarks/init.py` on the machine that took YARDSTICK for `slowness`'s loop.
"""

import time

import numpy as np

from selfloop.operations.cost import Cost

YARDSTICK = 0.1
SESSION = 8.0  # seconds of Snakemake itself
STEP = 0.5  # per job of the loop
SHOWN = 3.0  # per figure or table
LOOP = frozenset({"concatenate", "train", "generate", "evaluate_model", "evaluate_part"})
# Seconds per unit of all sampled parts: what evaluate_part and measure_profile do beside the counted work.
COMPARED = {"text": 0.0, "image": 0.0, "molecule": 0.0}


def overhead(domain: str, cost: Cost) -> float:
    """Seconds on one CPU of the machine that was measured."""
    jobs = sum(count * (STEP if rule in LOOP else SHOWN) for rule, count in cost.jobs.items())
    return jobs + COMPARED.get(domain, 0.0) * cost.of("generate").units


def slowness() -> float:
    """How many times longer this machine takes for the same: a loop in Python and sorting, the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        np.sort(np.random.default_rng(0).random(300_000))
        sum(number * number % 7 for number in range(700_000))
        best = min(best, time.process_time() - began)
    return best / YARDSTICK
