"""Token sequences: their Parquet schema, and a memory-mapped store for training and evaluation."""

import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.domains.text.data.tokenizer import OWN_MARKS, Marks
from selfloop.errors import UserError

READS_BEFORE_RELEASE = 2000  # of a mapped array: a read maps some 64 KiB around it, so this bounds RSS at 130 MB

# The columns of every text data set. `input_ids` are exactly the sampled or encoded tokens, begin-of-text first,
# end-of-text last if the document ended; `iteration` and `part` say which model sampled it (iteration 0: real), `row`
# is the index within the part.
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("iteration", pa.int16()),
        ("part", pa.int16()),
        ("row", pa.int64()),
    ]
)


class TokenStore:
    """Token sequences in one memory-mapped array.

    Attributes:
        tokens: int32 or uint16 [total], all sequences concatenated.
        bounds: int64 [sequences + 1]; sequence i is tokens[bounds[i]:bounds[i + 1]].
        marks: the ids that begin and end documents.
    """

    def __init__(self, tokens: np.ndarray, bounds: np.ndarray, marks: Marks = OWN_MARKS) -> None:
        self.tokens = tokens
        self.bounds = bounds
        self.marks = marks
        self._reads = 0

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence."""
        return np.diff(self.bounds)

    def __getitem__(self, index: int) -> np.ndarray:
        self._reads += 1
        if self._reads % READS_BEFORE_RELEASE == 0:
            self._release()
        return np.array(self.tokens[self.bounds[index] : self.bounds[index + 1]])

    @property
    def ended(self) -> np.ndarray:
        """Whether each sequence's last token is end-of-text."""
        pieces = []
        for begin in range(0, len(self), READS_BEFORE_RELEASE):
            lasts = self.bounds[1 + begin : 1 + begin + READS_BEFORE_RELEASE] - 1
            pieces.append(self.tokens[lasts] == self.marks.end)
            self._release()
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=bool)

    def check_ids(self, vocabulary: int, where: Path) -> None:
        """Refuse token ids outside the vocabulary.

        Raises:
            UserError: there is one.
        """
        largest = 0
        for begin in range(0, len(self.tokens), READS_BEFORE_RELEASE * 1000):
            largest = max(largest, int(self.tokens[begin : begin + READS_BEFORE_RELEASE * 1000].max()))
            self._release()
        if largest >= vocabulary:
            raise UserError(
                f"{where} holds token {largest}, and the model's vocabulary has {vocabulary}: the tokenizers differ."
            )

    def _release(self) -> None:
        """Unmap pages: they stay in the page cache, but no longer count as this process's memory."""
        if isinstance(self.tokens, np.memmap):
            self.tokens._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]

    @classmethod
    def create(
        cls, batches: Iterable[pa.RecordBatch], longest: int, folder: Path, marks: Marks = OWN_MARKS
    ) -> "TokenStore":
        """Write the column `input_ids`, truncated to `longest` tokens per row, to `folder`, and map it.

        Memory is bounded by one record batch and eight bytes a row.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lengths: list[np.ndarray] = []
        with (folder / _file(marks)).open("wb") as file:
            for values, sizes in _truncated(batches, longest):
                file.write(values.astype(marks.dtype).tobytes())
                lengths.append(sizes)
        np.save(folder / "bounds.npy", _bounds(lengths))
        return cls.open(folder, marks)

    @classmethod
    def open(cls, folder: Path, marks: Marks = OWN_MARKS) -> "TokenStore":
        """Map the files of `create`."""
        bounds = np.load(folder / "bounds.npy", mmap_mode="r")
        path, dtype = folder / _file(marks), marks.dtype
        tokens = np.memmap(path, dtype=dtype, mode="r") if bounds[-1] else np.zeros(0, dtype=dtype)
        return cls(tokens, bounds, marks)

    @classmethod
    def in_memory(cls, batches: Iterable[pa.RecordBatch], longest: int, marks: Marks = OWN_MARKS) -> "TokenStore":
        """The same in memory, for test sets and single parts."""
        pieces = list(_truncated(batches, longest))
        tokens = np.concatenate([np.zeros(0, marks.dtype), *(values.astype(marks.dtype) for values, _ in pieces)])
        return cls(tokens, _bounds([lengths for _, lengths in pieces]), marks)

    def first(self, rows: int | None) -> "TokenStore":
        """The first `rows` documents, or all if None."""
        return self if rows is None else TokenStore(self.tokens, self.bounds[: rows + 1], self.marks)


def _file(marks: Marks) -> str:
    return f"tokens.{np.dtype(marks.dtype).name}"


def _bounds(lengths: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)]) if lengths else np.zeros(1, "i8")


def _truncated(batches: Iterable[pa.RecordBatch], longest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per record batch, the truncated rows' tokens and lengths."""
    for batch in batches:
        column = batch.column("input_ids")
        offsets = column.offsets.to_numpy()
        # A sliced batch shares the values of the whole.
        values = column.values.slice(offsets[0], offsets[-1] - offsets[0]).to_numpy(zero_copy_only=False)
        lengths = np.diff(offsets)
        kept = np.minimum(lengths, longest)
        position = np.arange(len(values)) - np.repeat(offsets[:-1] - offsets[0], lengths)
        yield values[position < np.repeat(kept, lengths)], kept.astype(np.int64)


def token_types(batches: Iterable[pa.RecordBatch], longest: int) -> np.ndarray:
    """The distinct tokens among the first `longest` of every row, sorted; memory is bounded by one record batch."""
    types = np.zeros(0, dtype=np.int64)
    for values, _ in _truncated(batches, longest):
        types = np.union1d(types, values)
    return types


def padded(sequences: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [rows, longest]: sequences padded with -1."""
    ids = np.full((len(sequences), max(map(len, sequences))), -1, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids
