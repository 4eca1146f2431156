"""Where images come from, and how they are split: folders, zips, the packaged faces, CelebA's folder, `datasets`."""

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from selfloop.domains.image.data import readers, sources
from selfloop.domains.image.data.readers import ImageFiles
from selfloop.errors import UserError

from .conftest import blobs, people, png, settings


def split(**data: Any) -> tuple[ImageFiles, ImageFiles, list[str]]:
    lines: list[str] = []
    return (*sources.splits(settings(**data), lines.append)[:2], lines)


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


# --- folders and zips ----------------------------------------------------------------------------------------------


def test_a_folder_and_a_zip_of_the_same_images_are_the_same(folder: Callable[..., Path], tmp_path: Path) -> None:
    files = people(4, 3)
    of_folder = readers.of_path(folder(files), "train", "folder")
    of_zip = readers.of_path(zipped(tmp_path / "a.zip", files), "train", "folder")
    assert list(of_folder.names) == list(of_zip.names) == sorted(files)
    assert of_folder.persons == of_zip.persons == [name.split("/")[0] for name in sorted(files)]
    assert [of_zip.read(row) for row in range(12)] == [files[name] for name in sorted(files)]
    assert [of_folder.read(row) for row in range(12)] == [files[name] for name in sorted(files)]


def test_files_that_are_no_images_are_left_out_and_said(folder: Callable[..., Path], tmp_path: Path) -> None:
    shadow = {"__MACOSX/._a.png": b"x", ".hidden.png": b"x"}
    files = people(3, 2) | {"readme.txt": b"x", "p00/list.csv": b"x", "LICENSE": b"x"}
    for path in (folder(files), zipped(tmp_path / "a.zip", files | shadow)):
        train, test, lines = split(source="files", train=str(path))
        assert len(train) + len(test) == 6
        assert "skipped files without an image suffix: 1 x .csv, 1 x .txt, 1 x no suffix" in lines[0]


def test_several_sources_are_one(folder: Callable[..., Path], tmp_path: Path) -> None:
    one, two = folder(people(2, 2)), zipped(tmp_path / "b.zip", people(3, 2, first=2))
    train, test, _ = split(source="files", train=[str(one), str(two)], person="folder")
    assert len(train) + len(test) == 10
    assert {Image.open(io.BytesIO(train.read(row))).size for row in range(len(train))} == {(12, 12)}
    assert not set(train.persons or ()) & set(test.persons or ())


@pytest.mark.parametrize("as_zip", [False, True])
def test_an_empty_folder_or_zip_among_others_adds_nothing_and_is_counted(
    folder: Callable[..., Path], tmp_path: Path, as_zip: bool
) -> None:
    empty = zipped(tmp_path / "empty.zip", {}) if as_zip else tmp_path / "empty"
    if not as_zip:
        empty.mkdir()
    images = folder(people(3, 2))
    train, test, lines = split(source="files", train=[str(empty), str(images)], person="folder")
    assert len(train) + len(test) == 6
    assert "train: 1 empty folders or zips" in lines
    with pytest.raises(UserError, match=r"data\.train: none of .*empty.* holds an image"):
        split(source="files", train=[str(empty), str(empty)])


def test_a_zip_that_holds_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as file:
        for image in blobs(2, size=12)[:, 0]:
            file.writestr("a.png", png(image))
    with pytest.raises(UserError, match=r"twice\.zip' holds 'a\.png' twice"):
        split(source="files", train=str(path))


def test_a_fifo_in_place_of_a_file_is_refused_before_it_is_opened(folder: Callable[..., Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    found = settings(source="files", train=str(tmp_path / "pipe.zip"))
    assert sources.problems(found) == [f"data.train: '{tmp_path / 'pipe.zip'}' is a FIFO (allowed are files)"]
    images = folder({"a.png": png(blobs(1, size=12)[0, 0])})
    os.mkfifo(images / "b.png")
    train, test, _ = split(source="files", train=str(images))
    with pytest.raises(UserError, match="it is a FIFO"):
        [one.read(0) for one in (train, test)]


def test_linked_sub_folders_are_read_once_and_links_in_a_circle_end(folder: Callable[..., Path]) -> None:
    path, elsewhere = folder(people(2, 2)), folder(people(1, 2, first=2), "elsewhere")
    (path / "p02").symlink_to(elsewhere / "p02")
    (path / "p03").symlink_to(elsewhere / "p02")
    (path / "p00" / "circle").symlink_to(path)
    assert list(readers.of_path(path, "train", "folder").names) == sorted(people(3, 2))
    files = sources.input_files(settings(source="files", train=str(path)))
    assert files == [str(path / name) for name in sorted(people(3, 2))]


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "no file at all"), ({"a.txt": b"x", "b/c.txt": b"x"}, "2 x .txt")],
)
def test_a_folder_without_images_says_what_it_holds(folder: Callable[..., Path], files: Any, said: str) -> None:
    path = folder(files)
    path.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=f"data.train: '.*' holds no image .it holds {said}"):
        split(source="files", train=str(path))


def test_an_image_whose_name_is_not_utf_8_is_named(folder: Callable[..., Path]) -> None:
    path = folder({"a.png": b"x", os.fsdecode(b"J\xfcrgen/1.png"): b"x"})
    with pytest.raises(UserError, match=r"data.train: '.*' holds 'J\\udcfcrgen/1.png', whose name is not UTF-8"):
        split(source="files", train=str(path))


# --- who is tested -------------------------------------------------------------------------------------------------


def test_no_person_is_in_both_splits_where_persons_are_known(folder: Callable[..., Path]) -> None:
    train, test, lines = split(source="files", train=str(folder(people(10, 4))), person="folder", test_fraction=0.3)
    assert (len(train), len(test)) == (28, 12)
    assert not set(train.persons or ()) & set(test.persons or ())
    assert "3 of 10 persons (12 of 40 images)" in lines[0]


def test_a_regular_expression_finds_the_person(folder: Callable[..., Path]) -> None:
    files = {name.replace("/", "_"): content for name, content in people(5, 2).items()}
    train, test, _ = split(source="files", train=str(folder(files)), person=r"^(p\d+)_")
    assert set(train.persons or ()) | set(test.persons or ()) == {f"p{person:02d}" for person in range(5)}
    with pytest.raises(UserError, match=r"data.person: '\^\(q\)' does not match .*p00_0.png"):
        split(source="files", train=str(folder(files)), person="^(q)")


def test_a_test_person_who_is_in_train_too_is_refused(folder: Callable[..., Path]) -> None:
    train, test = folder(people(4, 2), "train"), folder(people(2, 2, first=3), "test")
    paths = {"source": "files", "train": str(train), "test": str(test)}
    with pytest.raises(UserError, match=r"1 persons of the test images .* in the train images .*: p03\."):
        split(**paths, person="folder")
    assert [len(each) for each in split(**paths)[:2]] == [8, 4]  # nobody knows who they are


def below(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}/{file}": content for file, content in files.items()}


def test_folders_that_all_images_share_are_no_part_of_a_persons_name(tmp_path: Path) -> None:
    train = str(zipped(tmp_path / "train.zip", below("faces/train", people(4, 2))))
    test = str(zipped(tmp_path / "test.zip", below("faces/test", people(1, 2, first=3))))
    with pytest.raises(UserError, match=r"1 persons of the test images .* in the train images .*: p03\."):
        split(source="files", train=train, test=test, person="folder")
    drawn, held_out, lines = split(source="files", train=[train, test], person="folder")
    assert set(drawn.persons or ()) | set(held_out.persons or ()) == {"p00", "p01", "p02", "p03"}
    assert "of 4 persons" in lines[0]


@pytest.mark.parametrize("depth", [["p00/s0", "p00/s1", "p01/s0"], ["p00", "p01/s0"]])
def test_folders_within_folders_do_not_tell_the_person(folder: Callable[..., Path], depth: list[str]) -> None:
    path = str(folder({f"faces/{each}/0.png": b"x" for each in depth}))
    with pytest.raises(UserError, match=r"data.person: 'folder' .*/s0/0.png is in nested folders .* '\(\[\^/\]\+"):
        split(source="files", train=path, person="folder")
    if depth[0] == "p00/s0":
        train, test, _ = split(source="files", train=path, person="([^/]+)/[^/]+/[^/]+$")
        assert {*(train.persons or ()), *(test.persons or ())} == {"p00", "p01"}


def test_an_image_beside_the_folders_is_no_persons(folder: Callable[..., Path]) -> None:
    for files in ({"0.png": b"x"}, {"faces/p00/0.png": b"x", "faces/1.png": b"x"}):
        with pytest.raises(UserError, match=r"data.person: 'folder' .*png is in no sub-folder"):
            split(source="files", train=str(folder(files, f"of {len(files)}")), person="folder")


def test_the_split_and_the_subsample_are_functions_of_the_seed(folder: Callable[..., Path]) -> None:
    path = str(folder(people(10, 4)))
    asked = {"source": "files", "train": path, "rows": 12, "test_rows": 3}
    one, same, other = (split(**asked, seed=seed) for seed in (0, 0, 1))
    assert [len(each) for each in one[:2]] == [12, 3]
    assert [each.names for each in one[:2]] == [each.names for each in same[:2]]
    assert [each.names for each in one[:2]] != [each.names for each in other[:2]]
    assert not set(one[0].names) & set(one[1].names)
    with pytest.raises(UserError, match=r"data.rows: 99 is more than the source has \(allowed: 1 to 32\)"):
        split(**asked | {"rows": 99})


def test_one_person_cannot_be_split(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="has 1 persons"):
        split(source="files", train=str(folder(people(1, 5))), person="folder")


def test_the_packaged_faces_are_400_photographs_of_40_persons() -> None:
    train, test, lines = split(source="packaged", name="orl")
    assert (len(train), len(test)) == (320, 80)
    assert len(set(train.persons or ())) == 32
    assert not set(train.persons or ()) & set(test.persons or ())
    assert "train: skipped files without an image suffix: 1 x .jpg" in lines


# --- CelebA, from a folder that is laid out like it (the real one cannot be had here) -------------------------------


def celeba(path: Path, as_zip: bool = False, csv: bool = False, identities: bool = True) -> Path:
    """Nine images: six to train on, one for validation, two to test on; two of each person."""
    names = [f"{number:06d}.jpg" for number in range(1, 10)]
    parts = dict(zip(names, "000000122", strict=True))
    path.mkdir()
    images = {name: png(image) for name, image in zip(names, blobs(9, size=12)[:, 0], strict=True)}
    if as_zip:
        zipped(path / "img_align_celeba.zip", {f"img_align_celeba/{name}": data for name, data in images.items()})
    else:
        (path / "img_align_celeba").mkdir()
        for name, data in images.items():
            (path / "img_align_celeba" / name).write_bytes(data)
    lines = [f"{name}{',' if csv else ' '}{part}" for name, part in parts.items()]
    head = ["image_id,partition"] if csv else []
    (path / f"list_eval_partition.{'csv' if csv else 'txt'}").write_text("\n".join(head + lines) + "\n")
    if identities:
        people_of = "\n".join(f"{name} {100 + (int(name[:6]) - 1) // 2}" for name in names)
        (path / "identity_CelebA.txt").write_text(people_of)
    return path


@pytest.mark.parametrize(("as_zip", "csv"), [(False, False), (True, False), (False, True)])
def test_a_folder_laid_out_like_celeba_has_its_official_split(tmp_path: Path, as_zip: bool, csv: bool) -> None:
    train, test, _ = split(source="celeba", path=str(celeba(tmp_path / "c", as_zip, csv)))
    assert list(train.names) == [f"{number:06d}.jpg" for number in range(1, 7)]
    assert list(test.names) == ["000008.jpg", "000009.jpg"]
    assert (train.persons, test.persons) == (["100", "100", "101", "101", "102", "102"], ["103", "104"])
    images = blobs(9, size=12)[:, 0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(test.read(0)))), images[7])
    assert len(split(source="celeba", path=str(tmp_path / "c"), test_split="validation")[1]) == 1


def test_a_folder_laid_out_like_celeba_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    celeba(tmp_path / "c")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(split(source="celeba", path="~/c")[0]) == 6
    assert str(tmp_path / "c" / "list_eval_partition.txt") in sources.input_files(settings(source="celeba", path="~/c"))


def test_lists_of_celeba_with_byte_order_marks_and_crlf_are_read(tmp_path: Path) -> None:
    path = celeba(tmp_path / "c", csv=True)
    for name in ("list_eval_partition.csv", "identity_CelebA.txt"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    train, test, _ = split(source="celeba", path=str(path))
    assert (len(train), len(test)) == (6, 2)
    assert train.persons is not None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"000001.jpg 2\n", r"line 10: 000001\.jpg is listed for the second time"),
        (b"gro\xdf.jpg 2\n", r"line 10: byte 0xdf at column 4 is not valid UTF-8"),
    ],
)
def test_a_line_of_celebas_lists_that_cannot_be_used_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = celeba(tmp_path / "c")
    with (path / "list_eval_partition.txt").open("ab") as file:
        file.write(line)
    with pytest.raises(UserError, match=rf"list_eval_partition\.txt, {said}"):
        split(source="celeba", path=str(path))


def test_an_image_of_celeba_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = celeba(tmp_path / "c")
    (path / "img_align_celeba" / "copies").mkdir()
    (path / "img_align_celeba" / "copies" / "000001.jpg").write_bytes(png(blobs(1, size=12)[0, 0]))
    with pytest.raises(UserError, match=r"holds 000001\.jpg twice"):
        split(source="celeba", path=str(path))


def test_a_damaged_folder_laid_out_like_celeba_is_named(tmp_path: Path) -> None:
    path = celeba(tmp_path / "c", identities=False)
    assert split(source="celeba", path=str(path))[0].persons is None
    (path / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(UserError, match=r"1 images of the split train .* the first of them 000003\.jpg"):
        split(source="celeba", path=str(path))
    with (path / "list_eval_partition.txt").open("a") as file:
        file.write("000010.jpg")
    with pytest.raises(UserError, match=r"list_eval_partition\.txt, line 10: '000010\.jpg' is not a file name and"):
        split(source="celeba", path=str(path))
    with pytest.raises(UserError, match="is not a split of CelebA"):
        split(source="celeba", path=str(path), train_split="trian")


# --- the hub, from a local folder that `datasets` opens in its place ------------------------------------------------


@pytest.fixture
def image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two splits that `datasets` opens as images with a column `celeb_id`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name, first, count in (("train", 0, 4), ("test", 4, 2)):
        files = {f"{name}/{person.replace('/', '_')}": data for person, data in people(count, 2, first).items()}
        for file, data in files.items():
            path = tmp_path / "hub" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        rows = "\n".join(f"{Path(file).name},{Path(file).name[:3]}" for file in files)
        (tmp_path / "hub" / name / "metadata.csv").write_text(f"file_name,celeb_id\n{rows}\n")
    return tmp_path / "hub"


def test_a_data_set_that_datasets_opens_from_a_local_folder(image_folder: Path) -> None:
    train, test, _ = split(source="hub", name=str(image_folder), person="celeb_id")
    assert (len(train), len(test)) == (8, 4)
    assert set(test.persons or ()) == {"p04", "p05"}
    assert Image.open(io.BytesIO(train.read(0))).size == (12, 12)
    held_out = split(source="hub", name=str(image_folder), person="celeb_id", test_split=None)
    assert (len(held_out[0]), len(held_out[1])) == (6, 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"image_column": "picture"}, "data.image_column: 'picture' is not a column .*it has: image, celeb_id"),
        ({"image_column": "celeb_id"}, "data.image_column: 'celeb_id' .* holds Value.*allowed are images"),
        ({"person": "who"}, "data.person: 'who' is not a column"),
        ({"test_split": "validation"}, "data.test_split: 'validation' of .* cannot be loaded"),
    ],
)
def test_what_a_local_data_set_lacks_is_named(image_folder: Path, data: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        split(source="hub", name=str(image_folder), **data)


# --- a validation split ----------------------------------------------------------------------------------------------


def three(**data: Any) -> tuple[ImageFiles, ImageFiles, ImageFiles]:
    train, test, watched, _ = sources.splits(settings(**data), lambda line: None)
    assert watched is not None
    return train, test, watched


def test_a_validation_split_holds_out_persons_of_the_images_to_train_on(folder: Callable[..., Path]) -> None:
    data = {"source": "files", "train": str(folder(people(10, 4))), "person": "folder", "test_fraction": 0.3}
    without, tested, _ = split(**data)
    train, test, watched = three(**data, validation_fraction=0.3)
    assert test.names == tested.names
    assert sorted([*train.names, *watched.names]) == sorted(without.names)
    assert len(set(watched.persons or ())) == 2
    assert not set(train.persons or ()) & set(watched.persons or ())
    assert three(**data, validation_fraction=0.3)[2].names == watched.names
    assert len(three(**data, validation_fraction=0.3, validation_rows=3)[2]) == 3
    few = three(**data, validation_fraction=0.3, rows=12)
    assert len(few[0]) + len(few[2]) == 12


def test_validation_images_may_be_files_or_a_split_of_their_own(folder: Callable[..., Path], tmp_path: Path) -> None:
    train, watched = folder(people(4, 2), "train"), folder(people(2, 2, first=4), "watched")
    found = three(source="files", train=str(train), validation=str(watched), person="folder")
    assert set(found[2].persons or ()) == {"p04", "p05"}
    assert str(watched / "p04/0.png") in sources.input_files(
        settings(source="files", train=str(train), validation=str(watched))
    )
    found = three(source="celeba", path=str(celeba(tmp_path / "c", identities=False)), validation_split="validation")
    assert list(map(len, found)) == [6, 2, 1]


def test_a_validation_person_who_is_trained_or_tested_on_is_refused(folder: Callable[..., Path]) -> None:
    train, watched = folder(people(4, 2), "train"), folder(people(2, 2, first=3), "watched")
    with pytest.raises(UserError, match=r"1 persons of the validation images .* (train|test) images .*: p03\."):
        three(source="files", train=str(train), validation=str(watched), person="folder")


# --- what is wrong before anything is read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "packaged", "name": "olr"}, ["data.name: 'olr'", "orl"]),
        ({"source": "files", "train": "nowhere"}, ["data.train: 'nowhere' does not exist"]),
        ({"source": "files", "train": "pyproject.toml"}, ["data.train: 'pyproject.toml' is not a zip"]),
        ({"source": "files", "train": "tests", "test": "tests"}, ["data.test: 'tests' is in data.train too"]),
        ({"source": "files", "train": "tests", "test": "tests/unit"}, ["data.test: 'tests/unit' is in data.train too"]),
        (
            {"source": "files", "train": ["docs", "tests/unit"], "test": "tests"},
            ["data.test: 'tests' holds 'tests/unit'"],
        ),
        ({"source": "files", "train": "docs", "validation": "docs"}, ["data.validation: 'docs' is in data.train too"]),
        (
            {"source": "files", "train": "docs", "validation": "tests", "validation_fraction": 0.1},
            ["data.validation_fraction: 0.1 is given with data.validation; give one of them"],
        ),
        ({"source": "packaged", "name": "orl", "validation_split": "a"}, ["data.validation_split: 'a' is given with"]),
        ({"source": "hub", "name": "a/b", "validation_split": "test"}, ["data.validation_split: 'test' has rows of"]),
        ({"source": "files", "train": "tests", "person": "("}, ["data.person: '(' is not a regular expression"]),
        ({"source": "files", "train": "tests", "person": "a"}, ["data.person: 'a' has 0 groups"]),
        ({"source": "files", "train": "tests", "name": "orl"}, ["data.name: 'orl' is given with source: files"]),
        ({"source": "packaged", "name": "orl", "crop": 16, "size": 32}, ["data.crop: 16", "data.size, 32"]),
        ({"source": "celeba", "path": "nowhere"}, ["data.path: 'nowhere' is not a folder"]),
        ({"source": "celeba", "path": "tests"}, ["data.path: 'tests' lacks CelebA's list_eval_partition.txt"]),
        ({"source": "hub", "name": "a/b", "test_split": "train"}, ["data.test_split: 'train' has rows of", "null"]),
        ({"source": "hub", "name": "a/b", "test_split": "train[:9%]"}, ["data.test_split: 'train[:9%]' has rows"]),
    ],
)
def test_a_wrong_section_is_named_before_an_image_is_read(
    data: dict[str, Any], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[4])
    (problem, *_) = sources.problems(settings(**data))
    assert all(part in problem for part in said), problem


def test_a_test_folder_that_links_to_the_train_images_is_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder(people(2, 1)))
    (problem,) = sources.problems(settings(source="files", train=str(tmp_path / "images"), test=str(tmp_path / "link")))
    assert problem.startswith(f"data.test: '{tmp_path / 'link'}' is in data.train too")


def test_slices_of_a_split_of_the_hub_may_be_train_and_test() -> None:
    data = {"source": "hub", "name": "a/b", "train_split": "train[:90%]"}
    assert sources.problems(settings(**data, test_split="train[90%:]")) == []
    assert sources.problems(settings(**data, test_split=None)) == []
    assert len(sources.problems(settings(**data, test_split="train[:90%]"))) == 1


def test_what_folders_are_read_for_are_their_images(folder: Callable[..., Path], tmp_path: Path) -> None:
    path, packed = folder({**people(2, 1), "notes.txt": b"x"}), zipped(tmp_path / "a.zip", people(1, 1))
    files = sources.input_files(settings(source="files", train=str(path), test=str(packed)))
    assert files == [*(str(path / name) for name in sorted(people(2, 1))), str(packed)]
    assert sources.input_files(settings(source="packaged", name="orl")) == []


# --- a reserve -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, 6])
@pytest.mark.parametrize("validation", [None, 0.3])
def test_a_reserve_is_in_no_other_split(
    folder: Callable[..., Path], rows: int | None, validation: float | None
) -> None:
    data: dict[str, Any] = {"source": "files", "train": str(folder(people(10, 4))), "person": "folder"}
    data |= {"test_fraction": 0.3, "rows": rows, "validation_fraction": validation}
    plain = sources.splits(settings(**data), lambda line: None)
    train, test, watched, reserved = sources.splits(settings(**data, reserve=1.5), lambda line: None)
    assert reserved is not None
    assert len(reserved) == round(1.5 * len(train))
    splits = [set(split.names) for split in (train, test, watched, reserved) if split is not None]
    assert len(set().union(*splits)) == sum(map(len, splits))
    assert test.names == plain[1].names
    assert watched is None or not set(watched.persons or ()) & set(reserved.persons or ())
    assert rows is None or train.names == plain[0].names


def test_a_reserve_that_the_source_cannot_fill_is_an_error(folder: Callable[..., Path]) -> None:
    data = settings(source="files", train=str(folder(people(10, 4))), person="folder", rows=20, reserve=1.0)
    with pytest.raises(
        UserError, match=r"data.reserve: 1 needs 20 images beside the 20 to train on, and there are 32 in"
    ):
        sources.splits(data, lambda line: None)
