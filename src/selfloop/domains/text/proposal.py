"""What `selfloop init` finds in text, and the studies that it makes of it: see `selfloop.domains.proposal`."""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from selfloop.domains.cost import AnyEffort
from selfloop.domains.proposal import (
    CURVE,
    NAMED,
    ON_HUB,
    PER_STEP,
    RATE,
    TESTED,
    WARM_UP,
    Choice,
    Choices,
    Draft,
    Found,
    Scale,
    common_name,
    defaults,
    too_few,
)
from selfloop.domains.text.config import Data, Model
from selfloop.domains.text.cost import characters_per_token, effort_of, expected_sizes
from selfloop.domains.text.data import files
from selfloop.domains.text.data.reading import PARAGRAPH_END
from selfloop.domains.text.model.shape import parameter_count
from selfloop.errors import UserError
from selfloop.inputs.files import Found as Notes
from selfloop.inputs.files import text_lines
from selfloop.numbers import short

if TYPE_CHECKING:
    import datasets

READ = 2**25  # characters that are read at most; documents beyond are taken to be like these
SAMPLE = 2_000  # documents whose lengths an estimate is made of
FEWEST = 20  # that are trained on
LEAST = 40  # documents of which there can be a study
USUAL = Data.model_fields["separator"].default
SEPARATOR_LENGTH = 40
# What is written for this alone, such as <|end|>, </s>, [SEP] and === END ===.
MARKER = re.compile(r"<\|\w+\|>|</?\w+>|\[/?[A-Z]+\]|([=*#-])\1* ?[A-Z][A-Z ]*\1+")
TEXT_NAMES = ("text", "content", "story", "document", "response", "completion", "output", "body")
PROMPT_NAMES = ("prompt", "instruction", "question", "input")
FEW, LONG = 400, 4  # documents, and contexts: fewer and longer ones are divided into paragraphs
CUT = 0.1  # of all tokens; where more would be cut, documents are divided
FINE_TUNING = Choice(2e-5, "low, so that the checkpoint is not forgotten")


@dataclass(frozen=True)
class Size:
    """A model, and how it is trained."""

    hidden_size: int
    layers: int
    heads: int
    vocabulary: int
    context: int
    batch_size: int
    learning_rate: float
    epochs: int
    rows: int  # of the training set at least, so that it learns more than a smaller one does


SIZES = (
    Size(64, 2, 4, 512, 64, 4, 2e-3, 3, 250),
    Size(96, 2, 4, 512, 96, 4, 2e-3, 3, 280),
    Size(96, 2, 4, 1024, 256, 8, 2e-3, 3, 600),
    Size(192, 4, 6, 2048, 256, 16, 1e-3, 3, 2_500),
    Size(256, 8, 8, 4096, 512, 32, 5e-4, 2, 15_000),
    Size(512, 8, 8, 8000, 512, 32, 5e-4, 1, 100_000),
)
LONGEST_TRAINING = 5  # times the usual epochs, where there are few documents


@dataclass(frozen=True)
class Corpus:
    """Documents as the study will read them.

    Attributes:
        data: what says where they are.
        lengths: characters of a sample of them.
        count: how many there are.
        available: how many of them can be trained on.
        paragraphs: whether they are paragraphs of the source's documents.
    """

    data: Choices
    lengths: Sequence[int]
    count: int
    available: int
    paragraphs: bool

    def tokens(self, size: Size) -> list[float]:
        """Tokens of the sampled documents, begin- and end-of-text included."""
        return [length / characters_per_token(size.vocabulary) + 2 for length in self.lengths]

    def tokens_told(self, size: Size) -> str:
        """What a context is chosen by."""
        return f"a typical document has about {median(self.tokens(size)):.0f} tokens"

    def context(self, size: Size) -> int:
        """A power of two that nearly all documents fit, at most that of the size."""
        long = sorted(self.tokens(size))[math.floor(0.95 * (len(self.lengths) - 1))]
        return min(size.context, max(32, 1 << math.ceil(math.log2(long))))

    def division(self, size: Size) -> dict[str, object]:
        """The key `documents` of data; empty where documents are whole."""
        context, tokens = self.context(size), self.tokens(size)
        cut = sum(max(0.0, each - context) for each in tokens) / sum(tokens)
        division: dict[str, object] = {"tokens": context} if cut > CUT else {}
        return division | ({"paragraphs": True} if self.paragraphs else {})

    def rows_each(self, size: Size) -> float:
        """Rows that a document makes."""
        if "tokens" not in self.division(size):
            return 1.0
        room = self.context(size) - 1
        return sum(math.ceil((tokens - 1) / room) for tokens in self.tokens(size)) / len(self.lengths)

    def least(self, size: Size) -> int:
        """The fewest documents that a model of a size is trained on."""
        return min(self.available, max(FEWEST, math.ceil(size.rows / self.rows_each(size))))


def files_of(path: Path) -> list[Path]:
    """The files of text at or below a path."""
    below = sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
    return [inner for inner in below if files.kind(inner) is not None and not inner.name.startswith(".")]


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a model as `save_pretrained` writes it."""
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def found(named: Sequence[str], paths: Sequence[Path], checkpoint: str | None = None) -> Found:
    """What is in files of text.

    Args:
        named: the paths as the user wrote them.
        paths: their files.
        checkpoint: the folder of a model to start from.

    Raises:
        UserError: they cannot be read, or hold too little.
    """
    said: list[str] = []
    data: dict[str, Choice] = {"source": Choice("files", NAMED), "train": Choice(_patterns(named, paths), NAMED)}
    kinds = {files.kind(path) for path in paths}
    if kinds - {".txt"}:
        data["text_column"] = _column([path for path in paths if files.kind(path) != ".txt"], said)
    if ".txt" in kinds:
        data |= _separated([path for path in paths if files.kind(path) == ".txt"])
    column = str(data["text_column"].value) if "text_column" in data else "text"
    separator = str(data["separator"].value) if "separator" in data else USUAL
    notes, read, sizes = Notes(), 0, sum(path.stat().st_size for path in paths)
    documents: list[str] = []
    dropped: Counter[str] = Counter()
    values = chain.from_iterable(files.documents(path, column, separator, notes, may_lack=True) for path in paths)
    for value, place in values:
        if value is not None and not isinstance(value, str):
            raise UserError(f"{place}: {column!r} holds {type(value).__name__}, and a text is a string; name a file.")
        if not value or not value.strip():
            dropped["null" if value is None else "empty"] += 1
            continue
        documents.append(value)
        read += len(value)
        if read > READ:
            break
    whole = read <= READ
    count = len(documents) if whole else round(len(documents) * max(1.0, sizes / max(read, 1)))
    where = named[0] if len(named) == 1 else f"{len(paths)} files"
    if not documents:
        raise too_few(0, "documents", LEAST, where)
    said.append(f"{where}: {'' if whole else 'about '}{count:,} documents, {_lengths(list(map(len, documents)))}.")
    said += [f"{number:,} are {what} and are dropped." for what, number in dropped.items()]
    said += [f"{note}." for note in notes.described()]
    same = len(documents) - len(set(documents))
    if same > 0.01 * len(documents):
        said.append(f"{same:,} are copies of another one; they are kept.")
    name = common_name([Path(named[0])])
    return _proposal(name, data, documents, count, said, where, checkpoint)


def of_hub(name: str, builder: "datasets.DatasetBuilder", rows: Iterable[Mapping[str, object]]) -> Found | None:
    """What is in a data set of the hub whose features hold a string; `rows`: the first ones of its train split."""
    info = builder.info
    columns = [key for key, feature in (info.features or {}).items() if getattr(feature, "dtype", "") == "string"]
    if not columns:
        return None
    said: list[str] = []
    records = list(rows)
    column = _preferred({key: [str(row[key] or "") for row in records] for key in columns}, said)
    data = {"source": Choice("hub", ON_HUB), "name": Choice(name, NAMED), "text_column": column}
    splits = {key: split.num_examples for key, split in (info.splits or {}).items()}
    count = splits.get("train") or len(records)
    test = next((key for key in ("validation", "test") if splits.get(key)), None)
    data["test_split"] = Choice(test, f"its splits are {', '.join(splits)}" if splits else "a share is held out")
    documents = [str(text) for row in records if (text := row[str(column.value)])]
    if not documents:
        raise too_few(0, "documents", LEAST, name)
    said.append(f"{name}: {count:,} documents; the first {len(documents)} have {_lengths(list(map(len, documents)))}.")
    return _proposal(common_name([Path(name)]), data, documents, count, said, name, None)


def _patterns(named: Sequence[str], paths: Sequence[Path]) -> str | list[str]:
    """What the config names: the files as they were given, and globs for folders."""
    patterns = []
    for name in named:
        if not Path(name).is_dir():
            patterns.append(name)
            continue
        below = [path for path in paths if path.is_relative_to(name)]
        patterns += sorted({f"{name.rstrip('/')}/**/*{''.join(path.suffixes[-2:])}" for path in below})
    return patterns[0] if len(patterns) == 1 else patterns


def _column(paths: Sequence[Path], said: list[str]) -> Choice:
    """The column that holds the text: see `_preferred`."""
    wanted = ("string", "str")
    names = [key for key, type_ in files.columns(paths[0]) if type_ in wanted]
    if not names:
        held = ", ".join(f"{key} ({type_})" for key, type_ in files.columns(paths[0])) or "none"
        raise UserError(f"{paths[0]} has no column of strings, and text is one; its columns: {held}.")
    values: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        rows = files.documents(paths[0], name, USUAL, Notes())
        values[name] = [value for value, _ in _first(rows, SAMPLE) if isinstance(value, str)]
    return _preferred(values, said)


T = TypeVar("T")


def _first(rows: Iterator[T], count: int) -> Iterator[T]:
    return (row for _, row in zip(range(count), rows, strict=False))


def _preferred(values: Mapping[str, Sequence[str]], said: list[str]) -> Choice:
    """Of columns of strings, that with a usual name, or else with the longest texts; the others are named."""
    mean = {name: sum(map(len, texts)) / max(len(texts), 1) for name, texts in values.items()}
    longest = max(mean, key=lambda name: mean[name])
    usual = [name for name in TEXT_NAMES if name in mean and mean[name] >= mean[longest] / 4]
    chosen = usual[0] if usual else longest
    others = [f"{name} ({mean[name]:.0f})" for name in mean if name != chosen]
    if not others:
        return Choice(chosen, "the only column of strings")
    said.append(f"Columns of strings: {', '.join(f'{name}, {mean[name]:.0f} characters' for name in mean)} on average.")
    why = "its name is usual for text" if usual else "the longest"
    if prompt := next((name for name in PROMPT_NAMES if name in mean and name != chosen), None):
        why += f"; with prompt_column: {prompt}, it is trained as the response to a prompt"
    return Choice(chosen, f"{why}; other columns, with characters on average: {', '.join(others)}")


def _separated(paths: Sequence[Path]) -> dict[str, Choice]:
    """The line that ends a document: that which is there most often and holds no words, or a marker; none if none."""
    counts: Counter[str] = Counter()
    read = 0
    for text, line in chain.from_iterable(text_lines(path) for path in paths):
        read += len(line.content)
        stripped = text.strip()
        if USUAL in text:
            counts[USUAL] += 1
        elif 2 <= len(stripped) <= SEPARATOR_LENGTH and _separates(stripped):
            counts[stripped] += 1
        if read > READ:
            break
    likely = {mark: count for mark, count in counts.items() if count > 1 or mark == USUAL}
    if not likely:
        return {}
    mark = max(likely, key=lambda each: (each == USUAL, MARKER.fullmatch(each) is not None, likely[each]))
    return {"separator": Choice(mark, f"it ends a document {likely[mark]:,} times")}


def _separates(line: str) -> bool:
    return not re.search(r"\w", line) or MARKER.fullmatch(line) is not None


def _lengths(lengths: Sequence[int]) -> str:
    return f"{short(sum(lengths))} characters, a typical one {median(lengths):,.0f}, the longest {max(lengths):,}"


def _proposal(
    name: str,
    data: Choices,
    documents: Sequence[str],
    count: int,
    said: list[str],
    where: str,
    checkpoint: str | None,
) -> Found:
    lengths = [len(document) for document in documents]
    separated = "separator" in data or data["source"].value == "hub" or "text_column" in data
    size = SIZES[2]
    long = median(lengths) > LONG * size.context * characters_per_token(size.vocabulary)
    paragraphs = False
    if count < FEW and (long or not separated):
        pieces = [len(piece) for text in documents for piece in PARAGRAPH_END.split(text.strip())]
        if len(pieces) >= FEW // 4:
            paragraphs, lengths, count = True, pieces, round(count * len(pieces) / len(lengths))
            said.append(f"They have {count:,} paragraphs, each of which is a document of the study.")
    if count < LEAST:
        advice = "" if separated else " No line ends a document: put one such as <|endoftext|> between documents."
        raise UserError(f"{too_few(count, 'documents', LEAST, where)}{advice}")
    lengths = random.Random(0).sample(lengths, SAMPLE) if len(lengths) > SAMPLE else lengths
    tested = "test_split" in data and data["test_split"].value is not None
    corpus = Corpus(data, lengths, count, count if tested else math.floor(0.9 * count) - 1, paragraphs)
    sizes = [size for size in SIZES if corpus.least(size) >= size.rows / corpus.rows_each(size)] or [*SIZES[:1]]
    if checkpoint is not None:
        said.append(f"{checkpoint}: a model of {short(parameter_count(Model(checkpoint=checkpoint)))} parameters.")
        sizes = sizes[:3][-1:]

    def effort(section: Data, model: Model) -> AnyEffort:
        tested = section.test_rows or 1
        return effort_of(expected_sizes(section, model, corpus.lengths, section.rows or corpus.count, tested), model)

    def scale(size: Size) -> Scale:
        most = max(1.0, LONGEST_TRAINING * corpus.available / corpus.least(size))
        return Scale(partial(_draft, corpus, size, checkpoint), most)

    return Found(name, tuple(said), tuple(map(scale, sizes)), effort)


def _draft(corpus: Corpus, size: Size, checkpoint: str | None, factor: float) -> Draft:
    """The sections of a study, `factor` times as long as the shortest of its size."""
    least, each, context = corpus.least(size), corpus.rows_each(size), corpus.context(size)
    rows = min(corpus.available, round(least * factor))
    short_of = min(LONGEST_TRAINING, max(1.0, size.rows / (least * each)))  # few documents are read more often
    epochs = max(1, round(size.epochs * short_of * max(1.0, factor * least / rows)))
    test = max(10, min(150, rows // 3, round(0.1 * corpus.count) - 1))
    data = dict(corpus.data)
    if divides := corpus.division(size):
        why = [f"pieces of {context} tokens, which the model sees at once; none is lost"] * ("tokens" in divides)
        why += ["each paragraph a document: there are few documents, or no line ends one"] * corpus.paragraphs
        data["documents"] = Choice(divides, "; ".join(why))
    limit = ", as many as the time allows" if rows < corpus.available else ""
    data["rows"] = Choice(rows, f"of {corpus.available:,} documents{limit}")
    data["test_rows"] = Choice(test, TESTED)
    if checkpoint is None:
        model = _own_model(corpus, size)
        training = {}
    else:
        model = {"checkpoint": Choice(checkpoint, NAMED), "context": Choice(context, corpus.tokens_told(size))}
        training = {"start": Choice("checkpoint", "each model is the checkpoint, fine-tuned")}
    steps = max(1, round(epochs * rows * each / size.batch_size))
    training |= {
        "epochs": Choice(epochs, f"about {steps:,} steps for the first model"),
        "batch_size": Choice(min(size.batch_size, rows), f"documents {PER_STEP}"),
        "learning_rate": Choice(size.learning_rate, RATE) if checkpoint is None else FINE_TUNING,
        "warmup_steps": Choice(20, WARM_UP),
        "evaluations": Choice(4, CURVE),
        "evaluation_rows": Choice(min(50, test), "test documents for each of these points"),
    }
    sampling = {"temperature": Choice(1.0, "the model's own distribution; a lower one collapses faster")}
    return Draft(data, model, training, sampling)


def _own_model(corpus: Corpus, size: Size) -> Choices:
    model: dict[str, object] = {"architecture": "gpt2"}
    model |= {key: getattr(size, key) for key in ("hidden_size", "layers", "heads")}
    model |= {"context": corpus.context(size), "vocabulary": size.vocabulary}
    model["initializer_range"] = 0.06 if size.hidden_size < 128 else 0.03
    parameters = parameter_count(defaults(Model, **model))
    why = {
        "architecture": f"{short(parameters)} parameters, the largest that the time and the data allow",
        "context": corpus.tokens_told(size),
        "hidden_size": "width of the layers",
        "layers": "they and the width grow with the time and the data",
        "heads": f"of {size.hidden_size // size.heads} numbers each",
        "vocabulary": f"about {characters_per_token(size.vocabulary):.1f} characters per token",
        "initializer_range": "small models learn faster from it",
    }
    return {key: Choice(value, why[key]) for key, value in model.items()}
