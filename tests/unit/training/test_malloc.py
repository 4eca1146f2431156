"""How a step uses memory."""

import subprocess
import sys

# Pages that the kernel hands out, and clears, in ten rounds of a step that allocates some blocks and frees them all.
FAULTS = """
import resource, torch
from selfloop.training.malloc import keep_freed_memory
{setting}
def step():
    first = torch.ones(2**23)
    second = first + 1
    third = torch.ones(2**22)
    return second * 2
for round in range(20):
    if round == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setting: str) -> int:
    """The pages handed out to a process with that setting."""
    command = [sys.executable, "-c", FAULTS.format(setting=setting)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_that_steps_have_freed_is_used_again() -> None:
    assert faults("keep_freed_memory()") < faults("") / 2
