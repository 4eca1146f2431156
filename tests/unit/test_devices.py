"""How a step sets up torch."""

import subprocess
import sys

# Pages that the kernel hands out, and clears, while 64 MiB are allocated for the fifth time.
FAULTS = """
import resource, torch
from selfloop.devices import prepare_torch
prepare_torch(1)
for round in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_was_freed_is_used_again() -> None:
    """64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB."""
    command = [sys.executable, "-c", FAULTS]
    assert int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) < 16
