"""Documents are encoded in lists that do not grow with the documents."""

import pyarrow as pa
import pytest

from selfloop.domains.text.steps import tokenize


def test_long_documents_are_encoded_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "CHARACTERS_AT_ONCE", 10)
    batches = [pa.RecordBatch.from_pydict({"text": texts}) for texts in (["a" * 4] * 5, ["b" * 30], [], ["", "c"])]
    assert list(tokenize.in_batches(batches)) == [["a" * 4] * 3, ["a" * 4, "a" * 4, "b" * 30], ["", "c"]]
