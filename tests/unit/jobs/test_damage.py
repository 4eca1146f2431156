"""Whatever changes an artifact after it was written is noticed, and the message names the file and what to do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from selfloop.checksums import record_file
from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.errors import UserError
from selfloop.jobs.damage import Check, check


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def part() -> Path:
    """A data set of two shards."""
    folder = Path("results/part")
    with atomic_folder(folder) as scratch:
        for number in range(2):
            (scratch / f"shard-{number}.parquet").write_bytes(bytes(range(100)))
    return folder


@pytest.fixture
def training_set(part: Path) -> Path:
    """A folder with links to the shards of the data set, and a file of its own."""
    folder = Path("results/training-set")
    with atomic_folder(folder) as scratch:
        (scratch / "shards").mkdir()
        for number, shard in enumerate(sorted(part.iterdir())):
            (scratch / "shards" / f"{number}.parquet").symlink_to(Path("../..", part.name, shard.name))
        (scratch / "manifest.json").write_text("{}")
    return folder


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    """Put a folder in the file's place."""
    path.unlink()
    path.mkdir()


def replace_by_dangling_link(path: Path) -> None:
    """Put a link that leads nowhere in the file's place."""
    path.unlink()
    path.symlink_to("nowhere")


def replace_by_link_to_itself(path: Path) -> None:
    """Put a link that leads to itself in the file's place."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flip, "has been damaged or changed: its checksum is not that of what was written"),
    "halved": (
        lambda path: os.truncate(path, 50),
        "has been damaged or changed: it has 50 bytes, and 100 were written",
    ),
    "emptied": (lambda path: os.truncate(path, 0), "has been damaged or changed: it has 0 bytes, and 100 were written"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "it has 101 bytes, and 100 were written"),
    "gone": (Path.unlink, "is missing"),
    "a folder": (replace_by_folder, "is not a file"),
    "a dangling link": (replace_by_dangling_link, "is missing"),
    "a link to itself": (replace_by_link_to_itself, "cannot be read (Too many levels of symbolic links)"),
}


def message(*artifacts: Path) -> str:
    """What the check says."""
    with pytest.raises(UserError) as error:
        check(artifacts)
    return str(error.value)


def test_what_is_as_it_was_written_passes(part: Path, training_set: Path) -> None:
    done = check([part, training_set])
    assert (done.files, done.bytes) == (3, 202)  # each file is read once


@pytest.mark.parametrize("how", DAMAGES)
def test_a_changed_file_of_a_folder_is_named(part: Path, how: str) -> None:
    damage, what = DAMAGES[how]
    damage(part / "shard-1.parquet")
    text = message(part)
    assert "results/part/shard-1.parquet " in text and what in text
    assert text.endswith(". Delete results/part and run Snakemake again: it is made again.")


@pytest.mark.parametrize("how", set(DAMAGES) - {"gone", "a folder"})
def test_a_changed_file_is_named(how: str) -> None:
    path = Path("results/tokenizer.json")
    with atomic_file(path) as scratch:
        scratch.write_bytes(bytes(range(100)))
    check([path])
    damage, what = DAMAGES[how]
    damage(path)
    text = message(path)
    assert text.startswith("results/tokenizer.json ") and what in text
    assert text.endswith(". Delete results/tokenizer.json and run Snakemake again: it is made again.")


def test_an_artifact_that_is_not_there_is_named(part: Path) -> None:
    assert message(Path("results/other")) == "results/other is missing. Run Snakemake again: it is made again."


@pytest.mark.parametrize("name", ["shard-1 (1).parquet", "shard-2.parquet", "inner/shard-1.parquet", "notes.txt"])
def test_a_file_too_many_is_named(part: Path, name: str) -> None:
    other = part / name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes((part / "shard-1.parquet").read_bytes())
    assert message(part) == f"{other} is not one of the files that were written there. Move {other} elsewhere."


def test_shadows_of_other_systems_are_passed_over(part: Path) -> None:
    for name in ("._shard-0.parquet", ".DS_Store", "Thumbs.db", ".snakemake_timestamp"):
        (part / name).write_text("x")
    check([part])


def test_a_shard_is_checked_through_the_links_of_a_training_set(part: Path, training_set: Path) -> None:
    flip(part / "shard-0.parquet")
    assert message(training_set) == (
        "results/part/shard-0.parquet, which results/training-set/shards/0.parquet links to, has been damaged or "
        "changed: its checksum is not that of what was written. "
        "Delete results/training-set and results/part and run Snakemake again: they are made again."
    )


def test_a_shard_that_was_written_anew_with_other_rows_asks_for_a_new_training_set(
    part: Path, training_set: Path
) -> None:
    with atomic_folder(part) as scratch:
        for number in range(2):
            (scratch / f"shard-{number}.parquet").write_bytes(b"other" * 20)
    check([part])
    assert message(training_set).endswith("Delete results/training-set and run Snakemake again: it is made again.")


def test_a_data_set_that_is_gone_is_noticed_through_the_links_of_a_training_set(part: Path, training_set: Path) -> None:
    for path in part.iterdir():
        path.unlink()
    part.rmdir()
    text = message(training_set)
    assert text.startswith(
        "results/part/shard-0.parquet, which results/training-set/shards/0.parquet links to, is miss"
    )
    assert text.endswith("Delete results/training-set and run Snakemake again: it is made again.")


@pytest.mark.parametrize("how", ["gone", "emptied", "flipped"])
def test_a_damaged_record_is_named(part: Path, how: str) -> None:
    DAMAGES[how][0](record_file(part))
    assert message(part).endswith("Delete results/part and run Snakemake again: it is made again.")


def test_all_damaged_artifacts_are_in_one_message(part: Path) -> None:
    paths = [Path(f"results/{number}.json") for number in range(5)]
    for path in paths:
        with atomic_file(path) as scratch:
            scratch.write_text("1")
        path.write_text("2")
    text = message(*paths, part)
    assert [str(path) in text for path in paths] == [True, True, True, False, False]
    assert text.endswith("2 more are damaged; selfloop verify lists them.")


def test_all_damages_of_one_artifact_are_listed(part: Path) -> None:
    flip(part / "shard-0.parquet")
    (part / "shard-1.parquet").unlink()
    assert [str(damage).split(" ")[0] for damage in Check().damages(part)] == [
        "results/part/shard-0.parquet",
        "results/part/shard-1.parquet",
    ]


def test_what_to_do_about_one_file_is_not_told_of_another(part: Path, training_set: Path) -> None:
    flip(part / "shard-0.parquet")
    (training_set / "notes.txt").write_text("x")
    (training_set / "manifest.json").write_text("[]")
    remedies = {damage.what.split(" ")[0].removesuffix(","): damage.remedy for damage in Check().damages(training_set)}
    assert remedies["results/training-set/manifest.json"].startswith("Delete results/training-set and run")
    assert remedies["results/part/shard-0.parquet"].startswith("Delete results/training-set and results/part and run")
