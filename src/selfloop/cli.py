"""The command `selfloop`: what there is beside Snakemake, which runs the studies.

Each command imports what it needs when it runs, so that help and messages appear at once.
"""

import logging
import pdb as debugger
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from selfloop.errors import UserError
from selfloop.jobs.system_errors import advice

if TYPE_CHECKING:
    from typer.models import OptionInfo

    from selfloop.planning.rules import Plan

CONFIG = Path("config/config.yaml")
CHECKOUT = Path(__file__).parents[2]

app = typer.Typer(
    name="selfloop",
    help="What happens when generative models are trained on their own output.",
    epilog="Studies are run by Snakemake, in the same folder: snakemake --cores all --configfile config/mine.yaml",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments` (by default the process's own), and exit.

    Raises:
        SystemExit: always; with a message and code 1 for what the user can mend, code 2 for a wrong command line.
    """
    try:
        try:
            app(args=arguments, prog_name="selfloop")
        finally:
            print(end="", flush=True)  # nothing where there is no output
    except UserError as error:
        sys.exit(f"selfloop: {error}")
    except OSError as error:
        if (text := advice(error)) is None:
            raise
        with suppress(OSError):  # what it holds may be what does not fit on the disk
            sys.stdout.close()
        sys.exit(f"selfloop: {text}")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"selfloop {metadata.version('selfloop')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _default_config() -> Path:
    """The default study: of the working folder if it has one, else of this checkout."""
    return CONFIG if CONFIG.exists() else CHECKOUT / CONFIG


ConfigFile = Annotated[
    Path,
    Option(
        metavar="FILE",
        help=f"The study, as for Snakemake; default: {CONFIG}.",
        default_factory=_default_config,
        show_default=False,
    ),
]


def _plan(configfile: Path) -> "Plan":
    from selfloop.config.load import read
    from selfloop.planning.rules import plan_study

    return plan_study(read(configfile))


def _positive(metavar: str, text: str) -> "OptionInfo":
    def check(value: float | None) -> float | None:
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{value} is not a number above 0")
        return value

    option: OptionInfo = Option(metavar=metavar, callback=check, help=text)
    return option


@app.command(epilog="Example: selfloop init stories.txt --minutes 10")
def init(
    files: Annotated[list[str], Argument(metavar="FILE...", help="Your data.", show_default=False)],
    minutes: Annotated[float, _positive("N", "Minutes that the study may take on this machine.")] = 10.0,
    output: Annotated[Path | None, Option(metavar="FILE", help="The config; default: named after the data.")] = None,
    cores: Annotated[int | None, Option(metavar="N", min=1, help="CPUs that it may use; default: all.")] = None,
) -> None:
    """Write the config of a study of your own data.

    Text (.txt, .jsonl or .parquet, also compressed), a folder or zip of images, SDF files, the id of a data set on the
    Hugging Face hub, or a checkpoint's folder beside the text to train it on. It says what it finds, and beside each
    line of the config why it is as it is.
    """
    from selfloop.operations.init import write_study

    write_study(files, minutes, output, cores)


@app.command("run-path", epilog='Example: selfloop run-path  # as in: snakemake --snakefile "$(selfloop run-path)"')
def run_path() -> None:
    """Print where the Snakefile is.

    With it, studies run from any folder.
    """
    from selfloop.operations.init import snakefile

    print(snakefile())


@app.command(epilog="Example: selfloop check config/from-a-colleague.yaml")
def check(
    file: Annotated[Path, Argument(metavar="FILE", help="The config.", show_default=False)],
) -> None:
    """Whether a config is right, and what its study would do.

    Snakemake runs the code that a config may hold: check one that you did not write before you give it to Snakemake.
    """
    from selfloop.operations.check import print_check

    print_check(_plan(file), file)


@app.command(epilog="Example: selfloop estimate --configfile config/paper.yaml --flops 9.89e14")
def estimate(
    configfile: ConfigFile,
    measure: Annotated[bool, Option("--measure", help="Measure how fast this machine trains and samples.")] = False,
    threads: Annotated[int | None, Option(metavar="N", min=1, help="CPU threads for --measure; default: all.")] = None,
    flops: Annotated[float | None, _positive("FLOPS", "Peak FLOP/s of a device, such as 9.89e14.")] = None,
    utilisation: Annotated[float, _positive("SHARE", "Share of --flops that training reaches.")] = 0.4,
    sampling_utilisation: Annotated[float, _positive("SHARE", "Share of --flops that sampling reaches.")] = 0.03,
    trained_per_second: Annotated[
        float | None, _positive("UNITS", "Units trained per second, in place of FLOPs.")
    ] = None,
    sampled_per_second: Annotated[
        float | None, _positive("UNITS", "Units sampled per second, in place of FLOPs.")
    ] = None,
    rows: Annotated[int | None, Option(metavar="N", min=1, help="Train rows of data sets of unknown size.")] = None,
    json: Annotated[bool, Option("--json", help="Print all numbers in full, as JSON.")] = False,
) -> None:
    """Jobs, FLOPs, disk and device-hours of a study.

    Without --measure or --flops, no device-hours.
    """
    from selfloop.operations.estimate import print_estimate
    from selfloop.operations.speed import Rates, given, measured

    if measure and flops:
        raise typer.BadParameter("--measure and --flops: give one of them")
    if not (measure or flops) and (trained_per_second or sampled_per_second):
        raise typer.BadParameter("--trained-per-second, --sampled-per-second: give --flops too, for what is measured")
    plan = _plan(configfile)
    rates = Rates(utilisation, sampling_utilisation, trained_per_second, sampled_per_second)
    notes: list[str] = []
    speed_of = measured(rates, threads, notes) if measure else given(flops, rates, notes) if flops else None
    print_estimate(plan, speed_of, notes, rows, as_json=json)


@app.command("show-regime", epilog="Example: selfloop show-regime accumulate --configfile config/mine.yaml")
def show_regime(
    name: Annotated[str, Argument(help="A built-in regime, or one of the config's own.", show_default=False)],
    configfile: ConfigFile,
    iterations: Annotated[int | None, Option(metavar="N", min=1, help="How many to show; default: at most 5.")] = None,
) -> None:
    """Which rows each model of a regime learns from.

    By iteration, with the artifacts that hold them.
    """
    from selfloop.operations.show_regime import print_regime

    print_regime(_plan(configfile), name, iterations)


@app.command(epilog="Example: selfloop status --configfile config/mine.yaml")
def status(configfile: ConfigFile) -> None:
    """Progress of a study, one line per chain.

    Iterations done, what runs or has failed, time left. Reads files only.
    """
    from selfloop.operations.status import print_status

    print_status(_plan(configfile))


@app.command(epilog="Example: selfloop prune --configfile config/mine.yaml --yes")
def prune(
    configfile: ConfigFile,
    yes: Annotated[bool, Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete what no later step needs, after asking.

    Data sets, measurements, and the first and last checkpoint of each chain stay.
    """
    from selfloop.operations.prune import prune as prune_study

    if not prune_study(_plan(configfile), ask=not yes):
        raise typer.Exit(1)


@app.command(epilog="Example: selfloop report --configfile config/mine.yaml")
def report(
    configfile: ConfigFile,
    output: Annotated[Path, Option(metavar="FILE", help="The page.")] = Path("results/report/index.html"),
) -> None:
    """Write the page of a study, finished or not.

    It draws what it can, says what is missing, and changes nothing else.
    """
    from selfloop.operations.report import write_page

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    page, finished = write_page(_plan(configfile), output)
    print(f"{page.summary}\n")
    print(f"{output}: {len(page.html.encode()) / 1e6:.1f} MB" + ("" if finished else " (the study is not finished)"))


@app.command(epilog="Example: selfloop verify results")
def verify(
    folder: Annotated[Path, Argument(help="Results of a study, or one artifact in them.")] = Path("results"),
) -> None:
    """Compare all artifacts and saved states with their checksums.

    It names each file that is damaged, missing or added, and changes nothing. Exit code 1 if there is one.
    """
    from selfloop.operations.verify import verify as verify_folder

    if verify_folder(folder):
        raise typer.Exit(1)


@app.command("check-gpu", epilog="Example: selfloop check-gpu --only training --only sampling")
def check_gpu(
    tiny: Annotated[bool, Option("--tiny", help="The smallest models, also on a CPU: only to try the checks.")] = False,
    only: Annotated[list[str] | None, Option(metavar="CHECK", help="Only this check; may be repeated.")] = None,
) -> None:
    """Check and measure a GPU, in at most ten minutes.

    What it is, whether it computes the same twice and after a kill, and how fast. It prints a table to paste into an
    issue. Exit code 1 if a line is bad.
    """
    from selfloop.operations.gpu.check import check_gpu as run_checks

    if not run_checks(tiny, only or []):
        raise typer.Exit(1)


@app.command("export-sdf", epilog="Example: selfloop export-sdf results/models/.../parts/... samples.sdf")
def export_sdf(
    folder: Annotated[Path, Argument(help="Sampled or real conformations: a folder of Parquet shards.")],
    file: Annotated[Path, Argument(help="The SDF file to write.")],
) -> None:
    """Write molecular conformations as an SDF file."""
    from selfloop.domains.molecule.export_sdf import write_sdf

    print(f"{write_sdf(folder, file)} conformations written to {file}")


@app.command(epilog="Example: selfloop step --pdb results/logs/train/.../iteration1-....job.json")
def step(
    job: Annotated[Path, Argument(help="A job's file; a failed step leaves it beside its log.")],
    pdb: Annotated[bool, Option("--pdb", help="Open the debugger where the step fails.")] = False,
) -> None:
    """Run one step without Snakemake.

    It writes the step's outputs, log and record as Snakemake's own run would.
    """
    from selfloop.jobs.execution import run_file

    try:
        code = run_file(job)
    except Exception:
        if not pdb:
            raise
        traceback.print_exc()
        debugger.post_mortem()
        code = 1
    raise typer.Exit(code)


@app.command(epilog="Example: selfloop schema config/schema.json")
def schema(
    file: Annotated[Path, Argument(help="The file to write.")] = Path("config/schema.json"),
    readme: Annotated[Path | None, Option(metavar="FILE", help="Print the tables of config/README.md instead.")] = None,
) -> None:
    """Write the JSON schema of configs, for editors."""
    from selfloop.operations.schema import json_schema, with_tables

    if readme is None:
        file.write_text(json_schema(), encoding="utf-8")
    else:
        readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")
