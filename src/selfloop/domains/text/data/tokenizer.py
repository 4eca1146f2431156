"""The tokenizer: byte-level BPE with one special token."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

# Begins and ends every document, as in GPT-2; also the padding, which no loss sees.
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
# Learning merges takes time in the square of the longest run that the pre-tokenizer does not divide: letters, digits,
# white space or other characters, as in DNA, base64 or a line of a hundred thousand dashes.
LONGEST_RUN = 1_000
_KINDS = (r"[^\W\d_]", r"\d", r"\s", r"[^\w\s]|_")
_LONG_SPACE = re.compile(rf"\s{{{LONGEST_RUN + 1}}}")
_LONG_RUN = re.compile("|".join(rf"(?<!{kind})(?:{kind}){{{LONGEST_RUN + 1},}}" for kind in _KINDS))


class Marks(NamedTuple):
    """The ids that begin and end documents, and how many ids there are."""

    begin: int
    end: int
    size: int

    @property
    def dtype(self) -> str:
        """Of stored ids."""
        return "<u2" if self.size <= 2**16 else "<u4"


OWN_MARKS = Marks(END_OF_TEXT_ID, END_OF_TEXT_ID, 2**16)


def marks_of(checkpoint: Path) -> Marks:
    """Those of a checkpoint's model, from its config.json."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    held = config.get("selfloop")
    return OWN_MARKS if held is None else Marks(held["marks"][0], held["marks"][1], config["vocab_size"])


def with_marks(tokenizer: Tokenizer, marks: Marks) -> Tokenizer:
    """The tokenizer with a post-processor that puts both marks around a document."""
    begin, end = (str(tokenizer.id_to_token(id_)) for id_ in marks[:2])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[*{begin: marks.begin, end: marks.end}.items()]
    )
    return tokenizer


def marks_around(tokenizer: Tokenizer) -> Marks:
    """What `with_marks` has put around documents; our own marks if it has put none."""
    around = tokenizer.encode("").ids
    return Marks(around[0], around[-1], tokenizer.get_vocab_size()) if around else OWN_MARKS


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary` tokens: all 256 bytes, end-of-text, and merges learnt from `texts`.

    Merges are learnt from pieces of words of more than LONGEST_RUN characters.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for text in texts for piece in bounded(text)), trainer)
    return tokenizer


def bounded(text: str) -> Iterator[str]:
    """The text, cut within runs of letters (or others) of more than LONGEST_RUN, every LONGEST_RUN of them."""
    begin = 0
    for run in _LONG_RUN.finditer(text) if _may_have_long_runs(text) else ():
        for end in range(run.start() + LONGEST_RUN, run.end(), LONGEST_RUN):
            yield text[begin:end]
            begin = end
    yield text[begin:]


def _may_have_long_runs(text: str) -> bool:
    """Whether a run may be long: a fast check, which of most texts says no."""
    if len(text) <= LONGEST_RUN:
        return False
    return max(map(len, text.split()), default=0) > LONGEST_RUN or _LONG_SPACE.search(text) is not None


def vocabulary_size(checkpoint: Path) -> int:
    """Vocabulary size of a checkpoint's model, from its config.json."""
    size: int = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    return size
