"""The cost of jobs of a language model.

The forward pass takes 2·N FLOPs per token for N parameters (Kaplan et al. 2020), plus those of attention, which depend
on the length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from selfloop.domains.cost import Effort, Work, prepared_shards, unknown_size
from selfloop.domains.text.config import Data, Model, Sampling, Training
from selfloop.domains.text.data import sources
from selfloop.domains.text.model.shape import parameter_count
from selfloop.errors import UserError
from selfloop.inputs.files import compression
from selfloop.inputs.paths import matching_files

READ_BYTES = 256 * 2**20  # total size of local files up to which characters are counted exactly
READ_TOKENS = 20_000_000  # size of prepared data up to which document lengths are read
# (train rows, train tokens, test rows) of hub data sets, by the last part of their id.
# TinyStories: its page on the hub; tokens from the paper's section 2.1.
KNOWN = {"tinystories": (2_119_719, 470e6, 21_990)}
# Characters per token by vocabulary, measured on 5,914 TinyStories (Shakespeare: 10% to 15% fewer).
CHARACTERS_PER_TOKEN = ((257, 1.0), (384, 1.9), (512, 2.3), (1024, 3.1), (2048, 3.6), (4096, 4.0), (8000, 4.1))
# Bytes per character and per token id in zstd shards, measured on the same.
TEXT_BYTES, ID_BYTES = 0.35, 1.4
TYPICAL_DOCUMENT = 1000  # characters, if nothing is known


@dataclass(frozen=True)
class Sizes:
    """Size of the tokenized data: rows, tokens (begin- and end-of-text included), and bytes on disk."""

    rows: float
    tokens: float
    test_rows: float
    test_tokens: float
    train_bytes: float
    data_bytes: float
    assumed: tuple[str, ...] = ()


def effort(data: Data, model: Model, real: Path, rows: int | None = None) -> Effort[Training, Sampling]:
    """The cost of each job of an experiment.

    Args:
        data, model: the experiment's sections.
        real: the folder of the prepared data, which may not exist yet.
        rows: train rows of a data set of otherwise unknown size.

    Raises:
        UserError: the size of the data is unknown.
    """
    if model.checkpoint is not None and not parameter_count(model):
        raise UserError(
            f"model.checkpoint: how large {model.checkpoint} is, is unknown until it is here; give a folder."
        )
    return effort_of(sizes_of(data, model, real, rows), model)


def effort_of(sizes: Sizes, model: Model) -> Effort[Training, Sampling]:
    """The same, of data whose size is known."""
    parameters, context = parameter_count(model), model.context
    length = min(sizes.tokens / sizes.rows, context)  # tokens of a typical row, begin- and end-of-text included
    test_length = min(sizes.test_tokens / sizes.test_rows, context)
    test = sizes.test_rows * forward_flops(model, test_length - 1)

    def train(training: Training, amount: float) -> Work:
        documents = context / (length - 1) if training.packing else 1.0  # per row of a batch
        seen = training.seen(amount * sizes.rows, training.batch_size * documents)
        curve = min(1.0, (training.evaluation_rows or math.inf) / sizes.test_rows)
        flops = 3 * seen * forward_flops(model, length - 1) + training.evaluations * curve * test
        return Work(seen * (length - 1), flops, 4 * parameters)

    def prompt_length(sampling: Sampling) -> float:
        return min(sampling.prompt_tokens, length - 1)

    def sampled_length(sampling: Sampling) -> float:
        if sampling.continuation is not None:
            return min(prompt_length(sampling) + sampling.continuation, context)
        return min(length, sampling.max_length or context)

    def generate(sampling: Sampling) -> Work:
        long = sampled_length(sampling)
        flops = sizes.rows * sampling.beams * forward_flops(model, long - 1)
        return Work(
            sizes.rows * (long - prompt_length(sampling)), flops, sizes.train_bytes * long * sizes.rows / sizes.tokens
        )

    def evaluate_part(sampling: Sampling, first: bool) -> Work:
        passes, long = 1 if first else 2, sampled_length(sampling)
        return Work(passes * sizes.rows * (long - 1), passes * sizes.rows * forward_flops(model, long - 1), 0.0)

    def score(sampling: Sampling) -> Work:
        return evaluate_part(sampling, first=True)

    return Effort(
        unit="tokens",
        row=length,
        data=Work(bytes=sizes.data_bytes),
        train=train,
        generate=generate,
        evaluate_model=Work(sizes.test_rows * (test_length - 1), test),
        evaluate_part=evaluate_part,
        score=score,
        assumed=(
            *sizes.assumed,
            "Sampled documents are as long as real ones, or as `continue` says; documents of a split are equally long.",
        ),
    )


def forward_flops(model: Model, positions: float) -> float:
    """FLOPs of the forward pass over a document of n positions.

    2·N per position, and per layer at position p two products (scores, weighted sum) with p keys and values,
    4·hidden·p, which add up to 4·layers·hidden·n(n+1)/2. Sampling with a KV cache takes the same.
    """
    if model.checkpoint is not None:
        return 2 * parameter_count(model) * positions
    attention = 4 * model.layers * model.hidden_size * positions * (positions + 1) / 2
    return 2 * parameter_count(model) * positions + attention


def sizes_of(data: Data, model: Model, real: Path, rows: int | None = None) -> Sizes:
    """Size of the real data: measured if prepared, else counted in local text, else published or assumed."""
    if prepared := prepared_shards(real):
        return _prepared(real, prepared, model.context)
    if data.source == "packaged" or (data.source == "files" and _file_bytes(data) <= READ_BYTES):
        return _counted(data, model)
    return _assumed(data, model, rows)


def _prepared(real: Path, shards: tuple[list[Path], list[Path]], context: int) -> Sizes:
    """From the footers: a token is a value of the list column `input_ids`. Small data are read, to truncate
    documents."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts = []
    for paths in shards:
        metadata = [pq.read_metadata(path) for path in paths]
        groups = [one.row_group(number) for one in metadata for number in range(one.num_row_groups)]
        columns = [group.column(index) for group in groups for index in range(group.num_columns)]
        tokens = sum(column.num_values for column in columns if column.path_in_schema.startswith("input_ids"))
        if tokens <= READ_TOKENS:
            lists = (pq.read_table(path, columns=["input_ids"]).column("input_ids") for path in paths)
            tokens = sum(pc.sum(pc.min_element_wise(pc.list_value_length(one), context)).as_py() or 0 for one in lists)
        counts.append((sum(one.num_rows for one in metadata), tokens, sum(path.stat().st_size for path in paths)))
    (rows, tokens, size), (test_rows, test_tokens, test_size) = counts
    on_disk = sum(path.stat().st_size for path in real.parent.rglob("*.parquet"))
    return Sizes(rows, tokens, test_rows, test_tokens, size, max(on_disk, size + test_size))


def _counted(data: Data, model: Model) -> Sizes:
    """From the characters of the documents."""
    per_token = characters_per_token(model.vocabulary)
    train, test = ([len(document) for document in split] for split in sources.documents(data, lambda line: None)[:2])
    counts = (*_rows_and_tokens(data, model, train), *_rows_and_tokens(data, model, test))
    return _on_disk(counts, data.reserve, per_token, (_tokens_assumed(data, model),))


def expected_sizes(data: Data, model: Model, lengths: Sequence[int], train: int, test: int) -> Sizes:
    """Size of data of `train` and `test` documents; `lengths` of a sample of them are in characters."""
    rows, tokens = _rows_and_tokens(data, model, lengths)
    share, tested = train / len(lengths), test / len(lengths)
    counts = (rows * share, tokens * share, rows * tested, tokens * tested)
    return _on_disk(counts, data.reserve, characters_per_token(model.vocabulary), ())


def _rows_and_tokens(data: Data, model: Model, lengths: Sequence[int]) -> tuple[float, float]:
    """Rows and tokens of documents whose lengths are in characters."""
    per_token = characters_per_token(model.vocabulary)
    rows = [length for characters in lengths for length in row_lengths(data, model, characters / per_token)]
    return float(len(rows)), sum(rows)


def _assumed(data: Data, model: Model, rows: int | None) -> Sizes:
    per_token = characters_per_token(model.vocabulary)
    name = str(data.name or "")
    known = KNOWN.get(name.rsplit("/", 1)[-1].lower()) if data.source == "hub" else None
    length: float = TYPICAL_DOCUMENT / per_token + 2
    test_rows: float | None = None
    if known is not None:
        whole: float | None = known[0]
        length, test_rows = known[1] / known[0], known[2]
        note = f"{name} has {known[0]:,} train rows of {length:.0f} tokens, as published."
    elif data.source == "files":
        whole = _file_bytes(data) / TYPICAL_DOCUMENT
        note = f"A document of {data.train} has {TYPICAL_DOCUMENT} characters."
    else:
        whole = rows
        note = f"A document of {name} has {TYPICAL_DOCUMENT} characters."
    if data.rows is not None:
        train_rows = float(data.rows)
    elif whole is not None:
        train_rows = whole * (data.fraction or 1 / (1 + data.reserve))
    else:
        raise unknown_size(f"data.name: '{name}'", "tokenize")
    tested = data.test_rows or test_rows or train_rows * data.test_fraction / (1 - data.test_fraction)
    pieces = row_lengths(data, model, length - 2)
    train_rows, tested, length = train_rows * len(pieces), tested * len(pieces), sum(pieces) / len(pieces)
    counts = (train_rows, train_rows * length, tested, tested * length)
    return _on_disk(counts, data.reserve, per_token, (note,) if known else (note, _tokens_assumed(data, model)))


def row_lengths(data: Data, model: Model, tokens: float) -> list[float]:
    """Tokens of the rows made of a document of this length, begin- and end-of-text included."""
    if data.piece is None:
        return [min(tokens + 2, model.context)]
    room = data.piece - 1
    full, rest = divmod(tokens + 1, room)
    return [data.piece] * int(full) + ([rest + 1] if rest else [])


def _on_disk(
    counts: tuple[float, float, float, float], reserve: float, per_token: float, assumed: tuple[str, ...]
) -> Sizes:
    """Disk holds the text, and the text with token ids."""
    rows, tokens, test_rows, test_tokens = counts
    each = TEXT_BYTES * per_token + ID_BYTES
    both = (tokens * (1 + reserve) + test_tokens) * (each + TEXT_BYTES * per_token)
    told = f"A token takes {each:.1f} bytes in a shard."
    return Sizes(rows, tokens, test_rows, test_tokens, tokens * each, both, (*assumed, told))


def _tokens_assumed(data: Data, model: Model) -> str:
    per_token = characters_per_token(model.vocabulary)
    return f"A token of a vocabulary of {model.vocabulary:,} has {per_token:.1f} characters."


def _file_bytes(data: Data) -> float:
    """Uncompressed size of the train files, a guess for compressed ones."""
    paths = matching_files(data.train)[0]
    return float(sum(path.stat().st_size * (sources.TYPICAL_COMPRESSION if compression(path) else 1) for path in paths))


def characters_per_token(vocabulary: int) -> float:
    """Characters per token, interpolated linearly in the logarithm of the vocabulary."""
    points = CHARACTERS_PER_TOKEN
    for (low, fewer), (high, more) in pairwise(points):
        if vocabulary <= high:
            return fewer + (more - fewer) * math.log(vocabulary / low) / math.log(high / low)
    return points[-1][1]
