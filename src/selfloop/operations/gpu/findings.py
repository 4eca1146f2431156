"""What a check finds: lines that say what was measured and whether it is good, and their table."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

GOOD, BAD, NOTE = "good", "BAD", "-"


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        check: which check it is of.
        what: what was looked at.
        value: what was found.
        good: whether that is as it should be; None where nothing is expected.
    """

    check: str
    what: str
    value: str
    good: bool | None = None

    @property
    def word(self) -> str:
        """Its verdict."""
        return NOTE if self.good is None else GOOD if self.good else BAD

    def __str__(self) -> str:
        return f"{self.word:<5} {self.check}: {self.what}: {self.value}"


Found = tuple[str, str, bool | None]  # what, value, good
Check = Callable[[], Iterator[Found]]


def found_by(checks: dict[str, Check], deadline: float, say: Callable[[Finding], object] = print) -> list[Finding]:
    """Run checks one after the other, and say what each finds as it finds it.

    A check that raises an error is bad, and the next one still runs; after `deadline` (of `time.monotonic`) none
    begins, and the one that runs ends with its line.
    """
    found: list[Finding] = []

    def add(finding: Finding) -> None:
        found.append(finding)
        say(finding)

    for name, check in checks.items():
        began = time.monotonic()
        if began > deadline:
            add(Finding(name, "not run", "the time is over", None))
            continue
        try:
            for what, value, good in check():
                add(Finding(name, what, value, good))
                if time.monotonic() > deadline:
                    add(Finding(name, "the rest is not run", "the time is over", None))
                    break
        except Exception as error:
            add(Finding(name, type(error).__name__, " ".join(str(error).split())[:300], False))
        add(Finding(name, "time", f"{time.monotonic() - began:.0f} s"))
    return found


def markdown(found: list[Finding]) -> str:
    """The lines as a table to paste into an issue."""
    rows = [(finding.word, finding.check, finding.what, finding.value) for finding in found]
    cells = [tuple(str(cell).replace("|", "\\|") for cell in row) for row in (("", "check", "what", "found"), *rows)]
    rule = ("---",) * 4
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))
