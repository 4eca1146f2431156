"""What `selfloop init` finds in a user's files, and the study that it writes."""

import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import HfApi
from PIL import Image

from selfloop.cli import main
from selfloop.domains.cost import AnyEffort
from selfloop.errors import UserError
from selfloop.operations import init
from selfloop.operations.cost import Speed
from selfloop.operations.init import Proposal, fitted, look, write
from selfloop.planning.artifacts import Experiment
from selfloop.planning.check import check

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "looked", "at", "old", "moon", "over", "hill")


def text(number: int, words: int = 40) -> str:
    """A document of distinct content, with this many words."""
    generator = np.random.default_rng(number)
    return f"{number} " + " ".join(WORDS[place] for place in generator.integers(0, len(WORDS), words))


def slow(experiment: Experiment, effort: AnyEffort) -> Speed:
    """A machine of 10 GFLOP/s."""
    return Speed(1e10, 1e10)


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the estimate takes of the machine is the same everywhere."""
    monkeypatch.setattr(init, "slowness", lambda: 1.0)
    monkeypatch.setattr(init, "devices", lambda: [])
    monkeypatch.chdir(tmp_path)


def study(*named: str, minutes: float = 10.0) -> Proposal:
    """What is proposed for some files, on two cores."""
    return fitted(*look(named), minutes, 2, slow)


def experiment(proposal: Proposal) -> Any:
    """The experiment as it is written and read again, which the study's own checks accept."""
    config = yaml.safe_load(write(proposal, Path("mine.yaml"), "selfloop init"))
    assert config == proposal.config()
    (entry,) = check(config).experiments.values()
    return entry


def stories(name: str, count: int = 400, separator: str = "<|endoftext|>") -> str:
    Path(name).write_text("".join(f"{text(number)}\n{separator}\n" for number in range(count)), encoding="utf-8")
    return name


def test_the_line_that_ends_a_document_is_found() -> None:
    for separator in ("<|endoftext|>", "=====", "[END]"):
        entry = experiment(study(stories("stories.txt", separator=separator)))
        assert (entry.data.separator, entry.data.train, entry.data.documents) == (separator, "stories.txt", "whole")


def test_text_that_nothing_separates_is_divided_into_paragraphs() -> None:
    Path("book.txt").write_text("\n\n".join(text(number, 100) for number in range(300)), encoding="utf-8")
    proposal = study("book.txt")
    assert experiment(proposal).data.by_paragraph
    assert "300 paragraphs" in " ".join(proposal.found.said)


def test_a_few_long_documents_are_divided_so_that_a_share_of_them_can_be_trained_on() -> None:
    book = "\n\n[Exeunt.]\n\n".join(text(number, 300) for number in range(60))
    Path("books.txt").write_text("\n***\n".join([book] * 5), encoding="utf-8")
    data = experiment(study("books.txt")).data
    assert (data.separator, data.by_paragraph) == ("***", True)
    assert data.piece is not None


def test_one_document_without_paragraphs_is_refused_with_what_to_do() -> None:
    Path("line.txt").write_text(text(0, 9000), encoding="utf-8")
    with pytest.raises(UserError, match=r"1 document that can be used; a study needs at least 40.*<\|endoftext\|>"):
        study("line.txt")


def test_of_two_columns_the_one_with_a_usual_name_or_the_longer_one_is_taken_and_the_other_named() -> None:
    for other, chosen in (("answer", "answer"), ("prompt", "response")):
        first = "response" if other == "prompt" else "title"
        rows = [{"id": n, first: text(n), other: text(n, 90)} for n in range(300)]
        Path("chat.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        proposal = study("chat.jsonl")
        assert experiment(proposal).data.text_column == chosen
        why = proposal.draft.data["text_column"].why
        assert "other columns" in why and ("with prompt_column: prompt" in why) == (other == "prompt")


def test_what_is_dropped_is_said() -> None:
    values = [text(number) for number in range(200)] + [None, None, "", "  ", "\n"]
    pq.write_table(pa.table({"text": values}), "some.parquet")
    said = " ".join(study("some.parquet").found.said)
    assert "200 documents" in said and "2 are null and are dropped" in said and "3 are empty and are dropped" in said


def test_a_folder_of_text_is_named_by_a_glob() -> None:
    Path("texts/inner").mkdir(parents=True)
    for number in range(60):
        Path(f"texts/inner/{number}.txt").write_text(f"{text(number)}\n<|endoftext|>\n", encoding="utf-8")
    assert experiment(study("texts")).data.train == "texts/**/*.txt"


def picture(number: int, mode: str = "RGB", side: int = 40) -> bytes:
    shape = (side, side + 8, 3) if mode == "RGB" else (side, side + 8)
    pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_of_a_mixed_folder_of_images_it_says_what_is_converted_dropped_and_skipped() -> None:
    Path("photos").mkdir()
    for number in range(120):
        Path(f"photos/{number}.png").write_bytes(picture(number, "L" if number < 20 else "RGB"))
    Path("photos/broken.png").write_bytes(b"no image")
    Path("photos/notes.md").write_text("notes", encoding="utf-8")
    proposal = study("photos")
    entry = experiment(proposal)
    assert (entry.data.color, entry.data.size, entry.data.broken) == ("rgb", 32, "drop")
    said = " ".join(proposal.found.said)
    assert "121 images" in said and "RGB 100" in said and "L 20" in said
    assert "Gray and colour are mixed" in said and "1 of them cannot be used" in said and "1 .md" in said


def test_a_zip_of_gray_images_is_a_study_of_gray_ones() -> None:
    with zipfile.ZipFile("faces.zip", "w") as file:
        for number in range(60):
            file.writestr(f"{number}.png", picture(number, "L"))
    assert experiment(study("faces.zip")).data.color == "gray"


def test_conformers_of_small_molecules_are_taken_from_an_sdf_file() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    smiles = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "Cl", "Br", "F")] + ["C" * 30]
    with Chem.SDWriter("mine.sdf") as writer:
        for each in smiles:
            mol = Chem.AddHs(Chem.MolFromSmiles(each))
            mol.SetProp("_Name", each)
            for conformer in rdDistGeom.EmbedMultipleConfs(mol, 2, randomSeed=1):
                writer.write(mol, confId=conformer)
    proposal = study("mine.sdf")
    entry = experiment(proposal)
    assert (entry.data.source, entry.data.conformers) == ("sdf", 2)
    assert entry.data.max_atoms < 92  # of the longest chain
    assert "82 conformations of 41 molecules" in proposal.found.said[0]


def test_a_checkpoint_is_what_the_text_beside_it_is_trained_on() -> None:
    import torch
    from safetensors.torch import save_file

    Path("opt").mkdir()
    for name in ("config.json", "tokenizer.json"):
        Path("opt", name).write_text("{}", encoding="utf-8")
    save_file({"weight": torch.zeros(1000, 1000)}, "opt/model.safetensors")
    with pytest.raises(UserError, match=r"opt is a language model's checkpoint.*selfloop init opt stories.txt"):
        study("opt")
    proposal = study(stories("stories.txt"), "opt", minutes=30.0)
    assert experiment(proposal).model.checkpoint == "opt"
    assert "1.00M parameters" in " ".join(proposal.found.said)


def test_what_nothing_reads_is_refused_with_what_is_read() -> None:
    Path("table.xlsx").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"table.xlsx: the suffix '.xlsx' is not one of data; selfloop init reads"):
        study("table.xlsx")
    with pytest.raises(UserError, match=r"not-here.txt does not exist"):
        study("not-here.txt")


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_data_set_of_the_hub_is_known_by_its_first_rows(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "text":
        rows: list[dict[str, object]] = [{"id": n, "story": text(n)} for n in range(50)]
        features = datasets.Features({"id": datasets.Value("int64"), "story": datasets.Value("string")})
    else:
        rows = [{"image": Image.open(io.BytesIO(picture(n)))} for n in range(50)]
        features = datasets.Features({"image": datasets.Image()})
    splits = {"train": SimpleNamespace(num_examples=5000), "test": SimpleNamespace(num_examples=100)}
    info = SimpleNamespace(features=features, splits=splits)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: SimpleNamespace(info=info))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split, streaming: iter(rows))
    monkeypatch.setattr(HfApi, "dataset_info", lambda hub, name, timeout: None)
    data = experiment(study("someone/something")).data
    assert (data.source, data.name, data.test_split) == ("hub", "someone/something", "test")
    assert data.rows <= 5000


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(hub: HfApi, name: str, timeout: float) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(HfApi, "dataset_info", unreachable)
    with pytest.raises(UserError, match=r"someone/something .* cannot be read: no route to host\..*name a file"):
        study("someone/something")


def test_more_minutes_make_a_longer_study_that_fits_them() -> None:
    stories("stories.txt", 4000)
    seconds = [study("stories.txt", minutes=minutes).seconds for minutes in (2.0, 5.0, 15.0, 60.0)]
    assert seconds == sorted(seconds)
    for found, minutes in zip(seconds, (2.0, 5.0, 15.0, 60.0), strict=True):
        assert 0.7 < found / 60 / minutes <= 1.1


def test_seeds_and_then_controls_come_with_the_minutes() -> None:
    stories("stories.txt", 4000)
    short, long = (experiment(study("stories.txt", minutes=minutes)) for minutes in (1.0, 60.0))
    assert short.regimes == ["replace", "accumulate"]
    assert {"real", "accumulate-subsample"} <= set(long.regimes)
    assert len(long.seeds) >= 3


def test_too_few_minutes_are_refused_with_those_that_are_enough() -> None:
    stories("stories.txt")
    with pytest.raises(UserError, match=r"--minutes 0.01: the shortest study .* --minutes") as error:
        study("stories.txt", minutes=0.01)
    enough = float(str(error.value).rstrip(".").rsplit(" ", 1)[-1])
    assert study("stories.txt", minutes=enough).seconds <= 1.1 * 60 * enough


def test_reasons_stand_beside_what_was_chosen() -> None:
    written = write(study(stories("stories.txt")), Path("mine.yaml"), "selfloop init stories.txt")
    lines = {line.split(":")[0].strip(): line for line in written.splitlines() if not line.lstrip().startswith("#")}
    for key in ("separator", "rows", "architecture", "context", "vocabulary", "epochs", "regimes", "seeds"):
        assert "  # " in lines[key], key
    sections = {"experiments", "stories", "data", "model", "training", "sampling"}
    assert all("  # " in line for key, line in lines.items() if key not in sections)
    (command,) = (line for line in written.splitlines() if line.startswith("# snakemake"))
    assert command.endswith("--cores all --configfile mine.yaml") and f"--snakefile {init.SNAKEFILE}" in command
    assert all(len(line) <= 120 for line in written.splitlines() if line != command)


def test_in_the_clone_the_command_names_no_snakefile() -> None:
    Path("Snakefile").touch()
    written = write(study(stories("stories.txt")), Path("mine.yaml"), "selfloop init stories.txt")
    assert "# snakemake --cores all --configfile mine.yaml" in written


def test_a_file_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    stories("stories.txt")
    Path("stories.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"stories.yaml exists.*--output FILE"):
        main(["init", "stories.txt"])
    assert Path("stories.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("file", "why"), [("none/a.yaml", "does not exist"), ("/proc/a.yaml", "cannot be written to")])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    file: str, why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stories("stories.txt")
    monkeypatch.setattr(init.os, "access", lambda folder, mode: Path(folder) != Path("/proc"))  # root may all
    with pytest.raises(SystemExit, match=f"{why}; name another file: --output FILE"):
        main(["init", "stories.txt", "--output", file])
    assert "Measuring" not in capsys.readouterr().out


def test_the_command_says_what_it_found_and_how_to_run_the_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(init, "measured", lambda *_: slow)
    stories("my stories.txt")
    with pytest.raises(SystemExit) as ended:
        main(["init", "my stories.txt", "--minutes", "5", "--cores", "2"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "400 documents" in said and "--cores all --configfile my-stories.yaml" in said
    check(yaml.safe_load(Path("my-stories.yaml").read_text(encoding="utf-8")))
