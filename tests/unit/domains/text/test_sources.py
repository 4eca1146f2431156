"""What real text may look like, what comes out of it, and what is said where it is wrong."""

import bz2
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.exceptions import DatasetNotFoundError

from selfloop.domains.text import problems
from selfloop.domains.text.config import Data
from selfloop.domains.text.data import files, sources
from selfloop.errors import UserError
from selfloop.inputs import files as user_files
from selfloop.inputs import shakespeare
from selfloop.inputs.paths import matching_files

SEPARATOR = "<|endoftext|>"
STORIES = [f"Story {number} begins.\nAnd it ends." for number in range(20)]


def section(**changes: Any) -> Data:
    """A `data` section, of files if nothing else is said."""
    return Data.model_validate({"source": "files", "name": "shakespeare", "separator": SEPARATOR, **changes})


def read(data: Data) -> tuple[list[str], list[str], list[str]]:
    """Train documents, test documents and log lines."""
    log: list[str] = []
    train, test, _ = sources.documents(data, log.append)
    return list(train), list(test), log


def txt_bytes(stories: list[str]) -> bytes:
    return "".join(f"{story}\n{SEPARATOR}\n" for story in stories).encode()


def write_txt(path: Path, stories: list[str]) -> str:
    path.write_bytes(txt_bytes(stories))
    return str(path)


def write_jsonl(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_parquet(path: Path, **columns: list[Any]) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    return write_txt(tmp_path / "held_out.txt", ["A test story."])


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
@pytest.mark.parametrize("kind", files.FORMATS)
def test_every_format_plain_or_compressed_gives_the_same_documents(
    tmp_path: Path, held_out: str, kind: str, suffix: str
) -> None:
    plain = tmp_path / f"stories{kind}"
    if kind == ".txt":
        write_txt(plain, STORIES)
    elif kind == ".jsonl":
        write_jsonl(plain, [{"id": number, "text": story} for number, story in enumerate(STORIES)])
    else:
        write_parquet(plain, text=STORIES)
    path = Path(f"{plain}{suffix}")
    if suffix:
        path.write_bytes(COMPRESS[suffix](plain.read_bytes()))
    data = section(train=str(path), test=held_out)
    assert sources.problems(data) == []
    train, test, _ = read(data)
    assert train == STORIES
    assert test == ["A test story."]
    assert sources.known_train_rows(data) == len(STORIES)


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_compressed_file_is_an_error_that_names_it(
    tmp_path: Path, held_out: str, suffix: str, share: float
) -> None:
    content = COMPRESS[suffix](txt_bytes([f"{story} {hash_like}" for hash_like, story in enumerate(STORIES * 50)]))
    path = tmp_path / f"cut.txt{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=rf"cut\.txt\{suffix}' is truncated or damaged"):
        read(section(train=str(path), test=held_out))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_truncated_parquet_file_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.parquet{suffix}"
    write_parquet(tmp_path / "whole.parquet", text=STORIES)
    content = (tmp_path / "whole.parquet").read_bytes()[:-20]
    path.write_bytes(gzip.compress(content) if suffix else content)
    (problem,) = sources.problems(section(train=str(path)))
    assert "cut.parquet" in problem
    assert "truncated or damaged" in problem


def test_a_parquet_file_with_a_damaged_name_of_a_column_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, text=STORIES, another=STORIES)
    path.write_bytes(path.read_bytes().replace(b"another", b"\xffnother"))
    (problem,) = sources.problems(section(train=str(path)))
    assert problem.startswith(f"'{path}' is truncated or damaged: 'utf-8' codec can't decode byte 0xff")


def test_the_last_story_needs_no_separator_after_it_and_spaces_around_separators_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    path.write_bytes(f"\ufeffOne.\r\n  {SEPARATOR} \r\n\r\nTwo,\r\nin two lines.\r\n{SEPARATOR}\r\nThree.".encode())
    assert split(path)[0] == ["One.", "Two,\nin two lines.", "Three."]


def test_documents_may_be_paragraphs_and_a_file_then_needs_no_separator(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("One.\nStill one.\n\n\nTwo.\n \t\nThree.\n")
    data = section(train=str(path), documents={"paragraphs": True}, test_fraction=0.3)
    train, test, _ = read(data)
    assert sorted([*train, *test]) == ["One.\nStill one.", "Three.", "Two."]
    assert sources.known_train_rows(data) == len(train) == 2
    assert sources.first_lengths(data) == ([15, 4, 6], True)
    with pytest.raises(UserError, match=r"data\.documents, which divides long ones"):
        read(section(train=str(path)))


def split(path: Path, separator: str = SEPARATOR) -> tuple[list[object], dict[str, int]]:
    """The documents of a .txt file that are not empty, and what is said of it."""
    notes = user_files.Found()
    return [value for value, _ in files.documents(path, "text", separator, notes) if value], notes


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize(
    "between",
    [
        "{s}\n",
        " {s} \n",
        "{s}",
        "\n{s}",
        "{s}{s}\n\n{s}\n",
        "\u2028{s}\n",
        "\n<|EndOfText|>\n",
        "\n<| endoftext |>\n",
    ],
)
def test_a_separator_that_no_text_holds_by_chance_ends_a_story_wherever_it_is(
    tmp_path: Path, between: str, end: str
) -> None:
    path = tmp_path / "stories.txt"
    path.write_bytes(f"One,\nin two lines.{between.format(s=SEPARATOR)}Two.\n{SEPARATOR}\n".replace("\n", end).encode())
    assert split(path)[0] == ["One,\nin two lines.", "Two."]


def test_separators_beside_other_text_are_said(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "stories.txt"
    path.write_text(f"One.{SEPARATOR}\nTwo.\n{SEPARATOR}\nThree.{SEPARATOR}Four.")
    train, _, log = read(section(train=str(path), test=held_out))
    assert train == ["One.", "Two.", "Three.", "Four."]
    assert f"train: 2 lines hold the separator beside other text; a document ends there (first: {path}, line 1)" in log


@pytest.mark.parametrize("separator", ["---", "***", "END", "* * *"])
def test_a_separator_that_may_be_part_of_a_sentence_ends_no_story_inside_a_line_which_is_said(
    tmp_path: Path, separator: str
) -> None:
    path = tmp_path / "stories.txt"
    path.write_text(f"He said {separator}\nnothing.\n {separator} \nTwo.")
    documents, notes = split(path, separator)
    assert documents == [f"He said {separator}\nnothing.", "Two."]
    assert notes == {f"lines hold the separator {separator!r} beside other text; no document ends there": 1}


# --- files that were joined, and empty ones ------------------------------------------------------------------------

BOM = "\ufeff"


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [".txt", ".jsonl"])
def test_files_that_were_joined_with_their_byte_order_marks_are_read_as_if_each_were_alone(
    tmp_path: Path, held_out: str, kind: str, suffix: str
) -> None:
    parts = {
        ".txt": [f"One.\n{SEPARATOR}\nTwo.\n", f"{SEPARATOR}\nThree.\n{SEPARATOR}\n", f"{BOM}Four."],
        ".jsonl": ['{"text": "One."}\n{"text": "Two."}\n', "", '\n{"text": "Three."}\n', '{"text": "Four."}'],
    }[kind]
    path = tmp_path / f"joined{kind}{suffix}"
    whole = [(BOM + part).encode() for part in parts]
    path.write_bytes(b"".join(map(COMPRESS[suffix], whole)) if suffix else b"".join(whole))
    assert read(section(train=str(path), test=held_out))[0] == ["One.", "Two.", "Three.", "Four."]


def test_a_byte_order_mark_between_two_objects_of_a_line_is_named(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "joined.jsonl"
    path.write_text(f'{{"text": "One."}}\n{{"text": "Two."}}{BOM}{{"text": "Three."}}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2: not valid JSON, Extra data.*; column 17 is a byte order mark"):
        read(section(train=str(path), test=held_out))


def test_documents_with_a_byte_order_mark_inside_are_counted(tmp_path: Path, held_out: str) -> None:
    path = write_txt(tmp_path / "joined.txt", [f"The last line{BOM}The first line", "Two."])
    log = read(section(train=path, test=held_out))[2]
    said = "train: 1 documents hold a byte order mark (U+FEFF), as where files were joined"
    assert f"{said} (first: {path}, line 1)" in log


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", files.FORMATS)
def test_an_empty_file_among_others_adds_nothing_and_is_counted(
    tmp_path: Path, held_out: str, kind: str, suffix: str
) -> None:
    path = tmp_path / f"empty{kind}"
    if kind == ".parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    else:
        path.write_bytes(b"" if suffix else b"\xef\xbb\xbf\r\n \n")
    if suffix:
        path = Path(f"{path}.gz")
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    data = section(train=[str(path), write_txt(tmp_path / "stories.txt", STORIES)], test=held_out)
    assert sources.problems(data) == []
    train, _, log = read(data)
    assert train == STORIES
    assert f"train: 1 empty files (first: {path})" in log


# --- columns that are there twice ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [["JUNK"], [7]], ids=["strings", "integers"])
def test_a_parquet_file_with_two_text_columns_is_refused(tmp_path: Path, first: list[object]) -> None:
    path = tmp_path / "two.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(first), pa.array(["text"])], names=["text", "text"]), path)
    (problem,) = sources.problems(section(train=str(path)))
    assert problem.startswith(f"data.text_column: 'text' is there twice in {path}")


def test_a_column_with_a_dot_in_its_name_is_not_taken_for_a_field_of_another(tmp_path: Path, held_out: str) -> None:
    path = write_parquet(tmp_path / "dot.parquet", a=[{"b": "JUNK"}], **{"a.b": ["One."]})
    assert read(section(train=path, test=write_jsonl(tmp_path / "t.jsonl", [{"a.b": "Two."}]), text_column="a.b"))[
        :2
    ] == (
        ["One."],
        ["Two."],
    )


def test_other_columns_may_be_there_twice(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "two.parquet"
    columns = [pa.array([1]), pa.array(["One."]), pa.array([2])]
    pq.write_table(pa.Table.from_arrays(columns, names=["id", "text", "id"]), path)
    assert read(section(train=str(path), test=held_out))[0] == ["One."]


@pytest.mark.parametrize("line", [1, 2])
def test_a_json_object_with_two_text_keys_is_refused(tmp_path: Path, held_out: str, line: int) -> None:
    path = tmp_path / "two.jsonl"
    path.write_text('{"id": 1, "text": "One.", "id": 2}\n' * (line - 1) + '{"text": "JUNK", "te\\u0078t": "Two."}\n')
    with pytest.raises(UserError, match="'text' is there twice in"):
        read(section(train=str(path), test=held_out))


# --- what is no file, or has no bound ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", files.FORMATS)
def test_a_fifo_among_the_files_is_refused_before_it_is_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"pipe{kind}"
    os.mkfifo(path)
    assert sources.problems(section(train=str(path))) == [f"data.train: '{path}' is a FIFO (allowed are files)"]


@pytest.mark.parametrize("kind", [".txt", ".jsonl"])
def test_a_document_without_end_is_refused_and_not_held_in_memory(
    tmp_path: Path, held_out: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_files, "LONGEST", 1000)
    monkeypatch.setattr(files, "LONGEST", 1000)
    path = tmp_path / f"long{kind}.gz"
    path.write_bytes(gzip.compress(b"a" * 10_000_000))
    with pytest.raises(UserError, match=r"long.*, line 1: the line is longer than 1\.00 kB"):
        read(section(train=str(path), test=held_out))
    if kind == ".txt":
        path.write_bytes(gzip.compress(b"a line\n" * 1000))
        with pytest.raises(UserError, match=r"long.*, line 1: the document is longer than"):
            read(section(train=str(path), test=held_out))


def test_a_txt_file_without_the_separator_is_an_error_that_names_both(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "novel.txt"
    path.write_text("One long novel.\nIts second line.\n")
    with pytest.raises(UserError, match=r"'<\|endoftext\|>' is on no line of .*novel\.txt.*likely not wanted"):
        read(section(train=str(path), test=held_out))


def test_globs_and_lists_give_each_file_once_in_order(tmp_path: Path, held_out: str) -> None:
    for name in ("b", "a", "c"):
        write_txt(tmp_path / f"part-{name}.txt", [f"Story {name}."])
    data = section(train=[str(tmp_path / "part-c.txt"), str(tmp_path / "part-*.txt")], test=held_out)
    assert read(data)[0] == ["Story c.", "Story a.", "Story b."]
    assert [Path(path).name for path in sources.input_files(data)] == [
        "part-c.txt",
        "part-a.txt",
        "part-b.txt",
        "held_out.txt",
    ]


@pytest.mark.parametrize("rows", [["a" * 2000], ["One."] * 9 + ["b" * 2000]], ids=["alone", "among short ones"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_row_of_parquet_that_is_too_long_is_named(
    tmp_path: Path, held_out: str, rows: list[str], dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST", 1000)
    array = pa.array(rows)
    pq.write_table(pa.table({"text": array.dictionary_encode() if dictionary else array}), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet.*: the document is longer than"):
        read(section(train=str(tmp_path / "rows.parquet"), test=held_out))


# --- what is no text -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\n<|endoftext|>\nbad \xff byte\n", r"bad\.txt, line 3: byte 0xff at column 5 is not valid UTF-8"),
        (b"fine\n<|endoftext|>\nbad \x00 byte\n", r"bad\.txt, line 3: holds a NUL"),
    ],
)
def test_bytes_that_are_no_text_are_an_error_that_names_file_and_line(
    tmp_path: Path, held_out: str, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(section(train=str(path), test=held_out))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a\\u0000b"}', "line 2: the text holds a NUL"),
        ('{"text": "a\\ud800b"}', "line 2: the text holds half a surrogate pair"),
        ('{"text": 7}', r"line 2: the text is a int, '7' \(allowed are strings\)"),
        ('{"text": "cut of', "line 2: not valid JSON"),
        ('["text"]', "line 2: a JSON list"),
        ('{"texts": "a"}', r"'text' is not in .*line 2 \(it has: texts\)"),
    ],
)
def test_a_json_line_that_holds_no_text_is_an_error_that_names_it(
    tmp_path: Path, held_out: str, line: str, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        read(section(train=str(path), test=held_out))


def test_invalid_utf8_in_a_parquet_column_is_an_error_that_names_the_row(tmp_path: Path, held_out: str) -> None:
    text = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\4\0\0\0\6\0\0\0"), pa.py_buffer(b"fine\xff\xfe"))
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": text}), path)
    with pytest.raises(UserError, match=r"rows\.parquet, row 2: not valid UTF-8"):
        read(section(train=str(path), test=held_out))


def test_null_empty_and_short_documents_are_dropped_and_counted(tmp_path: Path, held_out: str) -> None:
    path = write_parquet(tmp_path / "rows.parquet", text=["long enough", None, "", " \n ", "short", "also long enough"])
    train, _, log = read(section(train=path, test=held_out, min_characters=8))
    assert train == ["long enough", "also long enough"]
    assert "train: 1 documents dropped: null" in log
    assert "train: 3 documents dropped: empty, or shorter than 8 characters" in log
    assert "train: 2 documents" in log
    assert "test: 1 documents" in log


def test_nothing_left_is_an_error(tmp_path: Path, held_out: str) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", ["Short."]), test=held_out, min_characters=10)
    with pytest.raises(UserError, match=r"the train split holds no document of at least data\.min_characters: 10"):
        read(data)


def test_train_documents_that_are_in_the_test_split_are_kept_and_warned_of(tmp_path: Path) -> None:
    train_file = write_txt(tmp_path / "train.txt", ["Same.", "Other.", "Same."])
    train, _, log = read(section(train=train_file, test=write_txt(tmp_path / "test.txt", ["Same.", "Third."])))
    assert train == ["Same.", "Other.", "Same."]
    assert [line for line in log if line.startswith("warning")] == [
        "warning: 2 of 3 train documents are in the test split too, word for word; they are kept"
    ]


def test_no_warning_where_no_document_is_in_both_splits(tmp_path: Path, held_out: str) -> None:
    _, _, log = read(section(train=write_txt(tmp_path / "train.txt", STORIES), test=held_out))
    assert not [line for line in log if line.startswith("warning")]


# --- splits and subsamples -----------------------------------------------------------------------------------------


def test_without_test_files_a_share_of_the_documents_becomes_the_test_split(tmp_path: Path) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test_fraction=0.2)
    train, test, _ = read(data)
    assert len(test) == 4
    assert sorted(train + test) == sorted(STORIES)
    assert train == [story for story in STORIES if story in train]  # the order of the source
    assert sources.known_train_rows(data) == 16
    assert read(data)[:2] == (train, test)
    assert read(data.changed(seed=1))[1] != test


@pytest.mark.parametrize("change", [{"rows": 5}, {"fraction": 0.25}])
def test_a_subsample_is_drawn_by_seed_in_the_order_of_the_source(
    tmp_path: Path, held_out: str, change: dict[str, Any]
) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test=held_out, **change)
    train = read(data)[0]
    assert len(train) == len(set(train)) == 5
    assert train == [story for story in STORIES if story in train]
    assert read(data)[0] == train
    assert read(data.changed(seed=1))[0] != train
    assert sources.known_train_rows(data) == 5


def test_the_subsample_of_train_does_not_change_what_is_held_out(tmp_path: Path) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test_fraction=0.2)
    train, test, _ = read(data)
    few, same, _ = read(data.changed(rows=3))
    assert same == test
    assert set(few) < set(train)


def test_the_reserve_is_in_no_other_split_and_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test_fraction=0.2, rows=5)
    splits = [list(split) for split in sources.documents(data.changed(reserve=2.0), lambda line: None)]
    assert [len(split) for split in splits] == [5, 4, 10]
    assert len(set().union(*map(set, splits))) == 19
    assert read(data)[:2] == (splits[0], splits[1])


@pytest.mark.parametrize(("reserve", "train", "kept"), [(1.0, 8, 8), (0.5, 10, 5), (2.0, 5, 10), (4.0, 3, 12)])
def test_a_reserve_of_all_documents_is_as_many_times_the_train_split_as_it_says(
    tmp_path: Path, reserve: float, train: int, kept: int
) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test_fraction=0.2, reserve=reserve)
    assert [len(list(split)) for split in sources.documents(data, lambda line: None)] == [train, 4, kept]
    assert sources.known_train_rows(data) == train


def test_a_reserve_that_the_source_cannot_fill_is_a_problem_that_says_what_there_is(tmp_path: Path) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test_fraction=0.2, rows=5, reserve=2.5)
    expected = (
        "data.reserve: 2.5 needs 12 documents beside the 5 to train on, and there are 16 in all; lower it, or train on "
        "fewer."
    )
    assert sources.problems(data) == [expected]
    with pytest.raises(UserError, match=re.escape(expected)):
        sources.documents(data.changed(rows=5), lambda line: None)


def test_test_rows_limits_the_test_split(tmp_path: Path) -> None:
    data = section(train=write_txt(tmp_path / "stories.txt", STORIES), test_fraction=0.5, test_rows=3)
    train, test, _ = read(data)
    assert (len(train), len(test)) == (10, 3)


def test_more_rows_than_there_are_is_a_problem_that_says_how_many_there_are(tmp_path: Path, held_out: str) -> None:
    path = write_txt(tmp_path / "stories.txt", STORIES)
    expected = "data.rows: 21 is more than there are (allowed are 1 to 20)"
    assert sources.problems(section(train=path, test=held_out, rows=21)) == [expected]
    with pytest.raises(UserError, match=r"data\.test_rows: 2 is more than there are \(allowed are 1 to 1\)"):
        read(section(train=path, test=held_out, test_rows=2))


def test_rows_are_counted_after_short_documents_are_dropped(tmp_path: Path, held_out: str) -> None:
    path = write_parquet(tmp_path / "rows.parquet", text=["long enough", None, "x"])
    with pytest.raises(UserError, match=r"data\.rows: 3 is more than there are \(allowed are 1 to 1\)"):
        read(section(train=path, test=held_out, rows=3, min_characters=5))


def test_a_file_that_changes_between_the_two_passes_is_an_error(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "stories.txt"
    write_txt(path, STORIES)
    train, _, _ = sources.documents(section(train=str(path), test=held_out), lambda line: None)
    write_txt(path, STORIES[:-1])
    with pytest.raises(UserError, match="changed while it was read: 20 documents at first, then 19"):
        list(train)


# --- problems ------------------------------------------------------------------------------------------------------


def test_a_missing_column_is_named_with_those_that_are_there_and_the_nearest(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "stories.parquet", id=[1], stories=["Once."])
    assert sources.problems(section(train=path, text_column="story")) == [
        "data.text_column: 'story' is not a column of stories.parquet (it has: id, stories); did you mean 'stories'?"
    ]
    path = write_jsonl(tmp_path / "stories.jsonl", [{"id": 1, "body": "Once."}])
    assert sources.problems(section(train=path)) == [
        "data.text_column: 'text' is not a column of stories.jsonl (it has: id, body)"
    ]
    path = write_parquet(tmp_path / "none.parquet")
    assert sources.problems(section(train=path)) == [
        "data.text_column: 'text' is not a column of none.parquet (it has: none)"
    ]


def test_a_parquet_column_that_holds_no_strings_is_a_problem(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", text=[1, 2])
    assert sources.problems(section(train=path)) == [
        "data.text_column: 'text' of rows.parquet holds int64 (allowed are strings)"
    ]


def test_files_that_are_not_there_or_of_unknown_kind_are_problems(tmp_path: Path, held_out: str) -> None:
    (tmp_path / "stories.csv").write_text("text\nOnce.\n")
    found = sources.problems(section(train=[f"{tmp_path}/none-*.txt", f"{tmp_path}/stories.csv", str(tmp_path)]))
    assert len(found) == 3
    assert "none-*.txt' matches no file" in found[0]
    assert "stories.csv' has an unknown extension (allowed are .txt, .jsonl or .parquet" in found[1]
    assert "is a folder" in found[2]
    assert "is among the files of data.train too" in sources.problems(section(train=held_out, test=held_out))[0]


def test_a_file_is_the_same_under_all_its_paths(tmp_path: Path, held_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_txt(tmp_path / "stories.txt", STORIES)
    (tmp_path / "link.txt").symlink_to(path)
    assert matching_files(["stories.txt", path, "link.txt"]) == ([Path("stories.txt")], [])
    for test in ("stories.txt", "./stories.txt", "link.txt"):
        (problem,) = sources.problems(section(train=path, test=test))
        assert problem.startswith(f"data.test: '{Path(test)}' is among the files of data.train too")


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet"])
def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path, held_out: str, suffix: str) -> None:
    (tmp_path / f"gone.{suffix}").symlink_to(tmp_path / "nothing")
    (problem,) = sources.problems(section(train=f"{tmp_path}/gone*", test=held_out, rows=1))
    assert problem.startswith("data.train: '") and problem.endswith("cannot be read: No such file or directory")


def test_links_in_a_circle_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "circle.txt").symlink_to("circle.txt")
    (problem,) = sources.problems(section(train=str(tmp_path / "*.txt")))
    assert problem == f"data.train: '{tmp_path / 'circle.txt'}' cannot be read: Too many levels of symbolic links"


def test_a_limit_of_python_is_not_called_damage(tmp_path: Path, held_out: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "One.", "number": ' + "9" * 5000 + "}\n")  # which is not used
    assert read(section(train=str(path), test=held_out))[0] == ["One."]
    path.write_text('{"text": "One.", "list": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(UserError, match=r"rows\.jsonl, line 1: nested more deeply than Python reads JSON"):
        read(section(train=str(path), test=held_out))


def test_one_split_of_the_hub_for_train_and_test_is_a_problem() -> None:
    (problem,) = sources.problems(section(source="hub", name="a/b", test_split="train"))
    assert problem.startswith("data.test_split: 'train' has rows of data.train_split, 'train'")


def test_a_file_in_a_folder_called_data_is_named_as_a_file() -> None:
    """Its name begins like the key."""
    assert problems.of_data("data/rows.jsonl, line 2: no") == "data: data/rows.jsonl, line 2: no"
    assert problems.of_data("data.rows: 2 is more") == "data.rows: 2 is more"
    assert problems.of_data("data: no") == "data: no"


def test_rows_and_fraction_together_are_a_problem(held_out: str) -> None:
    (problem,) = sources.problems(section(train=held_out, rows=1, fraction=0.5))
    assert problem.startswith("data.rows and data.fraction: 1 and 0.5 are both given")


def test_an_unknown_packaged_name_is_a_problem_with_the_nearest() -> None:
    assert sources.problems(section(source="packaged", name="shakespear")) == [
        "data.name: 'shakespear' is not a packaged corpus (allowed: shakespeare, shakespeare-first-half, "
        "shakespeare-second-half); did you mean 'shakespeare'?"
    ]


def test_a_package_that_is_not_installed_is_a_problem_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shakespeare, "MODULE", "no_such_module")
    (problem,) = sources.problems(section(source="packaged"))
    assert "needs the Python package `shakespeare`, which is not installed" in problem


def test_files_named_for_a_source_that_reads_none_are_a_problem() -> None:
    (problem,) = sources.problems(section(source="packaged", train="stories.txt"))
    assert problem == "data.train: 'stories.txt' is given with source: packaged (allowed is null)"


def test_checking_text_files_imports_nothing_heavy(tmp_path: Path, held_out: str) -> None:
    code = (
        "import sys; from selfloop.domains.text.config import Data; from selfloop.domains.text.data import sources\n"
        f"data = {section(train=held_out)!r}\n"
        "assert sources.problems(data) == []\n"
        "assert sources.known_train_rows(data) == 0\n"
        f"assert sources.problems({section(source='hub', name='some/data')!r}) == []\n"
        "print(sorted({'numpy', 'pyarrow', 'datasets', 'torch', 'transformers'} & set(sys.modules)))"
    )
    library = Path(sources.__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=library, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder that `datasets.load_dataset` opens as it opens a data set on the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", text=STORIES, id=list(range(20)))
    write_parquet(folder / "data" / "validation-00000-of-00001.parquet", text=["A test story."], id=[0])
    return str(folder)


def test_a_name_of_the_hub_that_is_a_folder_here_as_well_is_not_taken_for_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` would load the folder."""
    monkeypatch.chdir(tmp_path)
    assert sources.problems(section(source="hub", name="imdb")) == []
    Path("imdb").mkdir()
    (problem,) = sources.problems(section(source="hub", name="imdb"))
    assert problem.startswith("data.name: 'imdb' is a folder here, and could be a data set of the hub (allowed: './")
    for name in ("./imdb", str(tmp_path / "imdb")):
        assert sources.problems(section(source="hub", name=name)) == []


def test_hub_data_are_read_through_datasets_here_from_a_local_folder(hub_folder: str) -> None:
    data = section(source="hub", name=hub_folder)
    assert sources.known_train_rows(data) is None
    train, test, _ = read(data)
    assert (train, test) == (STORIES, ["A test story."])
    few, _, _ = read(data.changed(rows=4))
    assert len(few) == 4


def test_a_hub_split_that_is_not_there_is_an_error_that_names_those_that_are(hub_folder: str) -> None:
    with pytest.raises(UserError, match=r"data\.test_split: 'test' of .*'train', 'validation'"):
        read(section(source="hub", name=hub_folder, test_split="test"))


def test_a_hub_data_set_without_test_split_is_split_only_where_the_user_says_null(hub_folder: str) -> None:
    train, test, _ = read(section(source="hub", name=hub_folder, test_split=None))
    assert (len(train), len(test)) == (18, 2)
    assert sorted(train + test) == sorted(STORIES)


def test_a_hub_column_that_is_not_there_is_an_error_that_names_those_that_are(hub_folder: str) -> None:
    with pytest.raises(UserError, match=r"'story' is not a column of .*\(it has: text, id\)"):
        read(section(source="hub", name=hub_folder, text_column="story"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            DatasetNotFoundError("Revision 'v9' doesn't exist for dataset 'a/b'."),
            r"^data\.revision: 'v9' of 'a/b' cannot",
        ),
        (ConnectionError("Couldn't reach\n'a/b'"), r"^data\.name: 'a/b' cannot be loaded: Couldn't reach 'a/b'$"),
        (TypeError(), r"^data\.name: 'a/b' cannot be loaded: TypeError$"),
    ],
)
def test_an_error_of_datasets_is_under_the_key_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_config_names", load)
    with pytest.raises(UserError, match=said):
        read(section(source="hub", name="a/b", revision="v9"))


def test_a_hub_name_that_cannot_be_loaded_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.name: '.*nowhere' cannot be loaded"):
        read(section(source="hub", name=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("with_data", [False, True])
def test_a_hub_data_set_with_a_loading_script_is_an_error_that_says_what_to_do(tmp_path: Path, with_data: bool) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "old.py").write_text("import datasets\n\nclass Old(datasets.GeneratorBasedBuilder):\n    pass\n")
    if with_data:
        write_jsonl(folder / "train.jsonl", [{"text": "One."}])
    with pytest.raises(
        UserError, match=r"data\.name: '.*old' cannot be loaded: .*old\.py.*refs/convert/parquet.*files"
    ):
        read(section(source="hub", name=str(folder)))


@pytest.fixture
def two_configurations(hub_folder: str) -> str:
    folder = Path(hub_folder).parent / "wiki"
    folder.mkdir()
    for name in ("small-raw", "big-raw"):
        write_jsonl(folder / f"{name}.jsonl", [{"text": story} for story in STORIES])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("small-raw", "big-raw"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return str(folder)


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (None, r"^data\.configuration: null is not a configuration of .*wiki' \(allowed: small-raw, big-raw\)$"),
        ("big-rew", r"^data\.configuration: 'big-rew' is .*\(allowed: small-raw, big-raw\); did you mean 'big-raw'\?$"),
    ],
)
def test_the_configurations_of_a_hub_data_set_are_named(
    two_configurations: str, configuration: str | None, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read(section(source="hub", name=two_configurations, configuration=configuration, test_split=None))
    train, _, _ = read(section(source="hub", name=two_configurations, configuration="big-raw", test_split=None))
    assert len(train) == 18


@pytest.mark.parametrize(
    ("files_", "said"),
    [
        ({"train.jsonl": b'{"text": "cut\n'}, "JSON parse error"),
        ({"train.csv": b"text\ngro\xdfe\n"}, "'utf-8' codec can't decode byte 0xdf"),
        ({"train.parquet": b"PAR1, and no more"}, "Parquet magic bytes not found"),
        ({"train.jsonl": b'{"text": "JUNK", "text": "One."}\n'}, "twice"),
        ({"train.csv": b"text,id,text\nJUNK,1,One.\n"}, r"data\.text_column: 'text' is there twice in the CSV files"),
        ({"train.jsonl": b'{"text": "One."}\n', "README.md": b"---\nconfigs: [}\n---\n"}, "line 1, column 11"),
    ],
    ids=["cut", "Latin-1", "no Parquet", "a key twice", "a column twice", "a damaged card"],
)
def test_whatever_a_hub_data_set_is_not_read_for_is_one_whole_message(
    hub_folder: str, files_: dict[str, bytes], said: str
) -> None:
    folder = Path(hub_folder).parent / "damaged"
    folder.mkdir()
    for name, content in files_.items():
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read(section(source="hub", name=str(folder), test_split=None))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


# --- packaged ------------------------------------------------------------------------------------------------------


def test_the_packaged_documents_of_the_default_study() -> None:
    train, test, log = read(section(source="packaged", min_characters=80))
    assert min(map(len, train + test)) >= 80
    assert (len(train), len(test)) == (12_310, 1_305)
    assert (sum(map(len, train)), sum(map(len, test))) == (3_252_708, 336_109)
    assert not [line for line in log if line.startswith("warning")]
