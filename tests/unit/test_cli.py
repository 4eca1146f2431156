"""The command `selfloop`, as a user types it."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from selfloop import cli
from selfloop.jobs.spec import JobSpec

ROOT = Path(__file__).parents[2]
COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Exit code (or message), output, and errors of a command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err


def test_help_lists_every_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = run(capsys, "--help")
    listed = output.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert code == 0
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_ends_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, output, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"Example: selfloop {command} " in " ".join(output.split())


@pytest.mark.parametrize("command", ["estimate", "status", "prune", "report"])
def test_commands_about_a_study_name_it_as_snakemake_does(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "--configfile FILE" in run(capsys, command, "--help")[1]


def test_check_says_what_a_study_would_do_and_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "stories.txt").write_text("Once.\n<|endoftext|>\n" * 40)
    study = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text())
    entry = next(iter(study["experiments"].values()))
    entry["data"] = {"source": "files", "train": str(tmp_path / "stories.txt")}
    entry |= {"regimes": ["replace"], "iterations": 2, "seeds": [0, 1], "sampling": [{}]}
    study = {"experiments": {"a": entry}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    code, output, _ = run(capsys, "check", str(tmp_path / "mine.yaml"))
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.startswith(("domain", "text"))}
    assert dict(zip(rows["domain"], rows["text"], strict=False)) | {"jobs": 0} == {
        "experiments": "1",
        "chains": "2",
        "models": "4",
        "parts": "4",
        "jobs": 0,
    }
    assert f"Data that it reads: {tmp_path / 'stories.txt'}." in output
    (tmp_path / "mine.yaml").write_text("__use_yte__: true\n__definitions__: [import os]\n" + yaml.safe_dump(study))
    said = run(capsys, "check", str(tmp_path / "mine.yaml"))[0]
    assert str(said).startswith(f"selfloop: {tmp_path / 'mine.yaml'}: the key '__use_yte__' makes Snakemake run Python")


def test_modules_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("typer", "json", "yaml", "pydantic", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError")
    command = [sys.executable, "-m", "selfloop", "status", "--configfile", str(ROOT / "tests/studies/tiny.yaml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = run(capsys)
    assert code == 2
    assert "Commands:" in output + errors


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"selfloop {metadata.version('selfloop')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["status", "--configfle", "x"], "No such option: --configfle"),
        (["estimate", "--flops", "0"], "0.0 is not a number above 0"),
        (["estimate", "--rows", "0"], "greater than or equal to 1"),
        (["estimate", "--flops", "1e14", "--measure"], "--measure and --flops: give one of them"),
        (["estimate", "--sampled-per-second", "5"], "give --flops too"),
    ],
)
def test_a_wrong_command_line_is_one_message(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, _, errors = run(capsys, *arguments)
    assert code == 2
    assert said in " ".join(errors.split())


def test_a_config_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "mine.yaml"
    assert run(capsys, "status", "--configfile", str(missing))[0] == (
        f"selfloop: {missing}: [Errno 2] No such file or directory: '{missing}'"
    )


def test_the_default_study_is_the_working_folder_s_else_the_checkout_s(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    assert "shakespeare-gpt2" in run(capsys, "status")[1]
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    _, output, _ = run(capsys, "status")
    assert "tiny" in output and "shakespeare-gpt2" not in output


HEAVY = ("torch", "transformers", "snakemake", "pandas", "pyarrow", "matplotlib", "bokeh", "rdkit", "yaml")


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("--help", HEAVY),
        ("--version", HEAVY),
        ("status --help", HEAVY),
        ("report --help", HEAVY),
        ("status", ("torch", "transformers", "snakemake", "matplotlib", "rdkit")),
    ],
)
def test_commands_import_nothing_heavy_that_they_do_not_need(
    tmp_path: Path, command: str, heavy: tuple[str, ...]
) -> None:
    code = f"""
import sys
from selfloop.cli import main
try:
    main({command.split()!r})
except SystemExit as ended:
    print(ended.code, sorted(sys.modules.keys() & set({heavy!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_python_m_selfloop_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "selfloop", "--version"], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout == f"selfloop {metadata.version('selfloop')}\n"


def test_a_step_that_fails_opens_the_debugger_there(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "broken.py").write_text("def run(job):\n    wrong = job.params.number\n    raise KeyError(wrong)\n")
    spec = JobSpec(
        rule="broken",
        module="broken",
        folder=str(tmp_path),
        input={},
        output={},
        params={"number": 4321},
        threads=1,
        gpus=0,
        processes=1,
        every_seconds=60.0,
        log="logs/broken.log",
        began=0.0,
    )
    command = [sys.executable, "-m", "selfloop", "step", "--pdb", str(spec.save())]
    around = os.environ | {"PYTHONPATH": str(modules)}
    answers = "p wrong + 1\nq\n"
    done = subprocess.run(command, cwd=tmp_path, env=around, input=answers, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert "KeyError: 4321" in done.stderr
    assert "(Pdb) 4322" in done.stdout


def test_output_that_finds_no_room_is_one_message(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-P", "-m", "selfloop", "schema", "--help"]
        ended = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert ended.returncode == 1
    assert ended.stderr.startswith("selfloop: no space left on the disk.") and len(ended.stderr.splitlines()) == 1
