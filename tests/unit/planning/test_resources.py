"""What steps ask for: the file, what it may hold, and how a later attempt asks for more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selfloop.errors import UserError
from selfloop.planning.resources import Resources

FILE = Path(__file__).parents[3] / "config/resources.yaml"


def changed(tmp_path: Path, *keys: str, value: Any) -> Path:
    """A copy of the file with one value changed."""
    table = yaml.safe_load(FILE.read_text())
    inner = table
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    path = tmp_path / "resources.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def test_a_domain_that_says_nothing_asks_for_the_default() -> None:
    resources = Resources(FILE)
    assert resources.of("train", "text")["gpu"] == 1
    assert resources.of("train", "linear")["gpu"] == 0
    assert resources.of("train", "linear")["cpus"] == resources.of("train", "text")["cpus"] == 1
    assert resources.of("prepare_data", "text")["gpu"] == 0


def test_later_attempts_ask_for_more_memory_and_for_more_time_where_they_begin_anew(tmp_path: Path) -> None:
    resources = Resources(changed(tmp_path, "text", "train", value={"mem_mb": 5000, "runtime": 30}))
    assert [resources.amount("train", "text", "mem_mb", attempt) for attempt in (1, 2, 3)] == [5000, 10000, 15000]
    assert resources.amount("train", "text", "runtime", 3) == 30  # it goes on from its state
    first = resources.amount("generate", "text", "runtime", 1)
    assert resources.amount("generate", "text", "runtime", 2) == 2 * first
    assert resources.amount("train", "text", "gpu", 3) == 1


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("text", "train", "gpus"), 2, r"text.train: unknown key 'gpus'; did you mean 'gpu'\?"),
        (("txt",), {"train": {"gpu": 1}}, r"unknown domain 'txt'; did you mean 'text'\? Allowed: default, .*text"),
        (("text", "training"), {}, r"text: unknown key 'training'; did you mean 'train'\?"),
        (("default", "train", "mem_mb"), "16 GB", r"default.train.mem_mb: '16 GB' is not an integer \(Megabytes"),
        (("text", "train"), {"gpu": -1}, r"text.train.gpu: -1 is not allowed: it must be at least 0"),
        (("default", "train"), {"gpu": 1}, r"default.train lacks the key 'mem_mb'"),
    ],
)
def test_what_is_wrong_is_one_message(tmp_path: Path, keys: tuple[str, ...], value: Any, message: str) -> None:
    path = changed(tmp_path, *keys, value=value)
    with pytest.raises(UserError, match=message) as caught:
        Resources(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        Resources(tmp_path / "resources.yaml")
