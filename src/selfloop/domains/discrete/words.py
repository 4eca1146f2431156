"""The words of a corpus. Light: `selfloop estimate` counts them."""

import re
from functools import cache

from selfloop.inputs import shakespeare

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")  # with either apostrophe


@cache
def corpus(split: str) -> tuple[str, ...]:
    """The words of the packaged plays, train or test, in their order and in lower case."""
    return tuple(word for speech, _ in shakespeare.split(split) for word in WORD.findall(speech.lower()))
