"""The page of a finished study: its size, how long it takes to build, and how soon a browser can use it.

    snakemake --cores all                 # the default study, if its results are not there
    python benchmarks/report.py           # in the folder that holds `results`; needs Chromium

Building is timed without Snakemake, including Python's start-up, as in a cluster job. A page is usable when its first
chart is interactive: timed from the start of loading, cold (a new browser) and warm (the same browser again).
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "browser"))  # of the tests: a browser

from chromium import chromium  # noqa: E402

from selfloop.planning.rules import plan_study  # noqa: E402

BUILD = """
import sys
from pathlib import Path
from selfloop.analysis.read import read_tidy
from selfloop.analysis.show import TABLES
from selfloop.report.page import Sources, render
from selfloop.report.study import Study
study = Study.model_validate_json(sys.stdin.read())
results = Path("results")
metrics, curves, profile = (read_tidy(results / f"{n}.parquet", s) for n, s in TABLES.items())
sources = Sources(study, metrics, curves, profile, results)
Path(sys.argv[1]).write_text(render(sources).html, encoding="utf-8")
"""


def main() -> None:
    config = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "config" / "config.yaml"
    study = json.dumps(plan_study(yaml.safe_load(config.read_text(encoding="utf-8"))).shows.report())
    page = Path("results/report/benchmark.html")
    page.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", BUILD, page], input=study, encoding="utf-8", check=True)
    built = time.perf_counter() - began
    print(f"size            {page.stat().st_size / 1e6:6.2f} MB   (limit 5)")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"build           {built:6.2f} s    (limit 15; {used.ru_utime + used.ru_stime:.2f} s of processor time)")
    with chromium() as browser:
        for width in (1440, 390):
            for start in ("cold", "warm") if width == 1440 else ("warm",):
                browser.open(page, width)
                usable, whole = (
                    browser.evaluate(f"+document.documentElement.dataset.{name} / 1000") for name in ("usable", "ready")
                )
                print(f"usable, {width:4} px {usable:5.2f} s    (limit 1; {start}; all charts after {whole:.2f} s)")
    page.unlink()


if __name__ == "__main__":
    main()
