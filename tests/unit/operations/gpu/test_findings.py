"""What a check finds is said line by line, and an error of one check is a line, too."""

import time
from collections.abc import Iterator

from selfloop.operations.gpu.findings import Finding, Found, found_by, markdown


def fine() -> Iterator[Found]:
    yield "hashes", "a and a", True
    yield "speed", "3 a|s", None


def broken() -> Iterator[Found]:
    yield "hashes", "a and b", False
    raise RuntimeError("out of\nmemory")


def without_times(found: list[Finding]) -> list[str]:
    return [str(finding) for finding in found if finding.what != "time"]


def test_every_line_says_whether_it_is_good_and_an_error_is_bad() -> None:
    said: list[Finding] = []
    found = found_by({"broken": broken, "fine": fine}, time.monotonic() + 60, said.append)
    assert said == found
    assert without_times(found) == [
        "BAD   broken: hashes: a and b",
        "BAD   broken: RuntimeError: out of memory",
        "good  fine: hashes: a and a",
        "-     fine: speed: 3 a|s",
    ]


def test_after_the_deadline_no_check_begins() -> None:
    found = found_by({"fine": fine}, time.monotonic() - 1, lambda finding: None)
    assert without_times(found) == ["-     fine: not run: the time is over"]


def test_a_check_ends_with_the_line_at_which_the_time_is_over() -> None:
    def slow() -> Iterator[Found]:
        yield "first", "1", True
        time.sleep(0.2)
        yield "second", "2", True
        yield "third", "3", True

    found = found_by({"slow": slow}, time.monotonic() + 0.1, lambda finding: None)
    assert [finding.what for finding in found] == ["first", "second", "the rest is not run", "time"]


def test_the_table_is_markdown() -> None:
    lines = markdown([Finding("fine", "speed", "3 a|s")]).splitlines()
    assert lines == ["|  | check | what | found |", "| --- | --- | --- | --- |", "| - | fine | speed | 3 a\\|s |"]
