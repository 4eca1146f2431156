"""The page of a study as far as it is there: python -m selfloop.report [--configfile FILE] [--output FILE].

Run it where Snakemake runs, with the folder `workflow` on PYTHONPATH, as `make report` does. It changes nothing else.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from selfloop.cli import load_plan
from selfloop.data.atomic import whole_file
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError
from selfloop.report import partial
from selfloop.report.content import gaps, not_simulated
from selfloop.report.page import Sources, render

DEFAULT = Path(__file__).parents[3] / "config" / "config.yaml"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page; a wrong config ends with its message and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m selfloop.report", description="The page of a study, finished or not."
    )
    parser.add_argument("--configfile", type=Path, default=DEFAULT, help="the study (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/report/index.html"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        study = load_plan(given.configfile)
        spec = study.report()
        made_of = study.rows(), study.simulation_rows()
        metrics, curves = partial.measured(*made_of)
        headlines = {domain["name"]: Quantity(**domain["headline"]) for domain in spec["domains"]}
        holes = gaps(spec["experiments"], metrics, headlines)
        waits = not_simulated(study.simulation_rows())
        unfinished = bool(holes or waits) or not partial.are_current(study.report_files(), *made_of, Path("results"))
        with tempfile.TemporaryDirectory() as folder:
            if unfinished:
                partial.draw(spec["domains"], metrics, curves, Path(folder))
            page = render(Sources(spec, metrics, curves, Path("results"), Path(folder), unfinished, waits))
    except UserError as error:
        sys.exit(f"selfloop: {error}")
    with whole_file(given.output) as scratch:
        scratch.write_text(page, encoding="utf-8")
    print(f"{given.output}: {len(page.encode()) / 1e6:.1f} MB" + (" (the study is not finished)" if unfinished else ""))


if __name__ == "__main__":
    main()
