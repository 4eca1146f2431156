"""What the commands beside Snakemake have in common: they take a config as Snakemake does, and build its plan."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from selfloop.config.load import read
from selfloop.errors import UserError
from selfloop.planning.rules import Plan, plan_study

ROOT = Path(__file__).parents[2]


def parser(description: str) -> argparse.ArgumentParser:
    """A parser of command lines with the option --configfile."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--configfile", type=Path, default=ROOT / "config/config.yaml", help="the study; as in Snakemake")
    return made


def load_plan(configfile: Path) -> Plan:
    """The plan of the study that a config file describes.

    Raises:
        UserError: the file cannot be read as a config.
        SystemExit: the config is wrong.
    """
    return plan_study(read(configfile))


def run(command: Callable[[Sequence[str]], int]) -> None:
    """Run a command; a `UserError` is shown as its message."""
    try:
        sys.exit(command(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"selfloop: {error}")
