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
# is the index within the part. Data with prompts have `prompt_tokens`, too: how many of the ids are begin-of-text and
# the prompt, which are given and not predicted.
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("iteration", pa.int16()),
        ("part", pa.int16()),
        ("row", pa.int64()),
    ]
)
PROMPTED = pa.schema([*SCHEMA, ("prompt_tokens", pa.int32())])
COLUMNS = ("input_ids", "prompt_tokens")  # what a store is made of; the second may be missing


class TokenStore:
    """Token sequences in one memory-mapped array.

    Attributes:
        tokens: int32 or uint16 [total], all sequences concatenated.
        bounds: int64 [sequences + 1]; sequence i is tokens[bounds[i]:bounds[i + 1]].
        marks: the ids that begin and end documents.
        given: int64 [sequences], the tokens of each that are not predicted: begin-of-text and the prompt; None for 1.
    """

    def __init__(
        self, tokens: np.ndarray, bounds: np.ndarray, marks: Marks = OWN_MARKS, given: np.ndarray | None = None
    ) -> None:
        self.tokens = tokens
        self.bounds = bounds
        self.marks = marks
        self.given = given
        self._reads = 0

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence."""
        return np.diff(self.bounds)

    @property
    def predicted(self) -> np.ndarray:
        """Predicted tokens of each sequence."""
        predicted: np.ndarray = np.maximum(self.lengths - (1 if self.given is None else self.given), 0)
        return predicted

    def given_of(self, indices: np.ndarray) -> np.ndarray | None:
        """Of some sequences, the tokens that are given; None if each has one."""
        return None if self.given is None else self.given[indices]

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

        Memory is bounded by one record batch and eight bytes a row, or sixteen where there are prompts.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lengths: list[np.ndarray] = []
        given: list[np.ndarray | None] = []
        with (folder / _file(marks)).open("wb") as file:
            for values, sizes, prompts in _truncated(batches, longest):
                file.write(values.astype(marks.dtype).tobytes())
                lengths.append(sizes)
                given.append(prompts)
        np.save(folder / "bounds.npy", _bounds(lengths))
        (folder / GIVEN).unlink(missing_ok=True)
        if (held := _given(given)) is not None:
            np.save(folder / GIVEN, held)
        return cls.open(folder, marks)

    @classmethod
    def open(cls, folder: Path, marks: Marks = OWN_MARKS) -> "TokenStore":
        """Map the files of `create`."""
        bounds = np.load(folder / "bounds.npy", mmap_mode="r")
        path, dtype = folder / _file(marks), marks.dtype
        tokens = np.memmap(path, dtype=dtype, mode="r") if bounds[-1] else np.zeros(0, dtype=dtype)
        given = np.load(folder / GIVEN) if (folder / GIVEN).exists() else None
        return cls(tokens, bounds, marks, given)

    @classmethod
    def in_memory(cls, batches: Iterable[pa.RecordBatch], longest: int, marks: Marks = OWN_MARKS) -> "TokenStore":
        """The same in memory, for test sets and single parts."""
        pieces = list(_truncated(batches, longest))
        tokens = np.concatenate([np.zeros(0, marks.dtype), *(values.astype(marks.dtype) for values, *_ in pieces)])
        return cls(tokens, _bounds([sizes for _, sizes, _ in pieces]), marks, _given([each[2] for each in pieces]))

    def first(self, rows: int | None) -> "TokenStore":
        """The first `rows` documents, or all if None."""
        if rows is None:
            return self
        given = None if self.given is None else self.given[:rows]
        return TokenStore(self.tokens, self.bounds[: rows + 1], self.marks, given)

    def windows(self, window: int, stride: int) -> "TokenStore":
        """In memory, the sequences in windows of `window` tokens, each `stride` tokens after the one before.

        Every predicted token is predicted once, in the first window that has it; what that shares with the window
        before it is given.
        """
        pieces, given = [], []
        for index, length in enumerate(self.lengths.tolist()):
            ids, known = self[index], 1 if self.given is None else int(self.given[index])
            begin = 0
            while known < length:
                end = min(begin + window, length)
                if end > known:
                    pieces.append(ids[begin:end])
                    given.append(known - begin)
                    known = end
                begin += stride
        tokens = np.concatenate([self.tokens[:0], *pieces])
        bounds = _bounds([np.array([len(piece) for piece in pieces], dtype=np.int64)])
        return TokenStore(tokens, bounds, self.marks, np.array(given, dtype=np.int64))

    def responses(self) -> "TokenStore":
        """In memory, the sequences without their prompts: each begins with begin-of-text."""
        if self.given is None:
            return self
        place = np.arange(self.bounds[-1]) - np.repeat(self.bounds[:-1], self.lengths)
        kept = (place == 0) | (place >= np.repeat(self.given, self.lengths))
        lengths = np.minimum(self.lengths, 1 + self.predicted)
        return TokenStore(np.asarray(self.tokens)[: self.bounds[-1]][kept], _bounds([lengths]), self.marks)


GIVEN = "given.npy"


def _given(pieces: Sequence[np.ndarray | None]) -> np.ndarray | None:
    held = [each for each in pieces if each is not None]
    return np.concatenate(held) if held else None


def _file(marks: Marks) -> str:
    return f"tokens.{np.dtype(marks.dtype).name}"


def _bounds(lengths: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)]) if lengths else np.zeros(1, "i8")


def _truncated(
    batches: Iterable[pa.RecordBatch], longest: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Per record batch, the truncated rows' tokens and lengths, and how many are given, of data with prompts."""
    for batch in batches:
        column = batch.column("input_ids")
        offsets = column.offsets.to_numpy()
        # A sliced batch shares the values of the whole.
        values = column.values.slice(offsets[0], offsets[-1] - offsets[0]).to_numpy(zero_copy_only=False)
        lengths = np.diff(offsets)
        kept = np.minimum(lengths, longest)
        position = np.arange(len(values)) - np.repeat(offsets[:-1] - offsets[0], lengths)
        given = None
        if "prompt_tokens" in batch.schema.names:
            given = np.minimum(batch.column("prompt_tokens").to_numpy(), kept).astype(np.int64)
        yield values[position < np.repeat(kept, lengths)], kept.astype(np.int64), given


def padded(sequences: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """int64 [rows, length]: sequences padded with -1, to that of the longest by default."""
    ids = np.full((len(sequences), length or max(map(len, sequences))), -1, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids
