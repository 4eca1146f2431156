"""Whether two runs of a study with other seeds come to the same words.

    python benchmarks/word_agreement.py [--configfile config/config.yaml] [--times 2] [--finished FOLDER]

Every chain whose seeds earn it a word runs with twice (or more) as many seeds as its experiment names. Seeds are then
dealt to two runs in many ways, the page's rule judges each run, and the share of cells (a model under a regime) with
equal words is printed: its mean over the deals, and by cell with the words. Cells that theory decides agree in any case
and are left out. With --finished, the study has run in that folder.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from selfloop.config.load import read
from selfloop.domains.protocol import load_domain
from selfloop.numbers import table
from selfloop.planning.check import check
from selfloop.report.content import judged, lines
from selfloop.report.verdicts import FEWEST_SEEDS

ROOT = Path(__file__).parents[1]
Cell = tuple[str, str, str]  # experiment, series, regime


def with_more_seeds(configfile: Path, times: int) -> tuple[dict[str, object], dict[str, int]]:
    """The study with several times its seeds, and each experiment's own number; of those with enough for a word."""
    study = check(read(configfile))
    counts = {name: len(entry.seeds) for name, entry in study.experiments.items() if len(entry.seeds) >= FEWEST_SEEDS}
    experiments = {
        name: {**study.experiments[name].plain, "seeds": list(range(times * count))} for name, count in counts.items()
    }
    return {**study.plain, "experiments": experiments}, counts


def run_study(config: dict[str, object], folder: Path) -> None:
    """Run the chains, without tables, figures and page."""
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "all"]
    command += ["results/metrics.parquet", "--configfile", "study.yaml"]
    subprocess.run(command, cwd=folder, check=True)


def words(metrics: pd.DataFrame, seeds: dict[str, np.ndarray]) -> dict[Cell, str]:
    """The words of one run, whose seeds are given by experiment; as on the page, corrected for their number."""
    kept = [
        metrics[(metrics["experiment"] == name) & (metrics["seed"].isin(own) | metrics["seed"].isna())]
        for name, own in seeds.items()
    ]
    rows = pd.concat(kept)
    found = []
    for name in rows["domain"].unique():
        domain = load_domain(name)
        found += lines(rows, name, domain.headline, domain.adequate)
    return {(line.experiment, line.series, line.regime): line.verdict.word for line in judged(found)}


def main() -> None:
    """Run, deal the seeds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=ROOT / "config/config.yaml")
    parser.add_argument("--finished", type=Path)
    parser.add_argument("--deals", type=int, default=200)
    parser.add_argument("--times", type=int, default=2)
    arguments = parser.parse_args()
    config, counts = with_more_seeds(arguments.configfile, arguments.times)
    with tempfile.TemporaryDirectory() as name:
        if arguments.finished is None:
            run_study(config, Path(name))
        metrics = pd.read_parquet((arguments.finished or Path(name)) / "results/metrics.parquet")
    generator = np.random.default_rng(0)
    equal, seen = Counter[Cell](), dict[Cell, Counter[str]]()
    shares = []
    for _ in range(arguments.deals):
        dealt = {name: generator.permutation(arguments.times * count) for name, count in counts.items()}
        runs = [words(metrics, {name: own[part * counts[name] :][: counts[name]] for name, own in dealt.items()})
                for part in range(2)]  # fmt: skip
        same = {cell: word == runs[1][cell] for cell, word in runs[0].items()}
        equal.update(cell for cell, agrees in same.items() if agrees)
        for cell in same:
            seen.setdefault(cell, Counter()).update(run[cell] for run in runs)
        shares.append(np.mean(list(same.values())))
    rows = [["experiment", "series", "regime", "seeds", "agree", "words"]]
    for cell, found in seen.items():
        listed = ", ".join(f"{word} {count / found.total():.0%}" for word, count in found.most_common())
        rows.append([*cell, str(counts[cell[0]]), f"{equal[cell] / arguments.deals:.0%}", listed])
    print(table(rows, right=(3, 4)))
    print(f"\nequal words in {np.mean(shares):.1%} of {len(seen)} cells, mean of {arguments.deals} deals")


if __name__ == "__main__":
    main()
