"""Rule write_profile: which phenomena of collapse each regime shows, as a table."""

from pathlib import Path

import pandas as pd

from selfloop.analysis.read import read_tidy
from selfloop.analysis.table import Table, save_table
from selfloop.data.tidy import METRICS, PROFILE
from selfloop.jobs.job import Job, StepParams
from selfloop.numbers import measured
from selfloop.report.profile import profiled, table
from selfloop.report.study import Basis


class Params(StepParams):
    """What the phenomena are decided by in each domain, as `planning.shown` says it."""

    study: list[Basis]


def run(job: Job[Params]) -> None:
    """Write `tables` and `pages`."""
    metrics, profile = read_tidy(job.input["metrics"], METRICS), read_tidy(job.input["profile"], PROFILE)
    found = table(profiled(metrics, profile, job.params.study))
    save_table(found, readable(found), [Path(job.output["tables"]), Path(job.output["pages"])])


def readable(data: pd.DataFrame) -> Table:
    """The table to read."""
    heads = {"domain": "Domain", "model": "Model", "regime": "Regime", "iteration": "n", "phenomenon": "Phenomenon"}
    heads |= {"word": "Word", "size": "Size", "low": "from", "high": "to", "p_holm": "p, Holm", "seeds": "Seeds"}
    heads |= {"first": "At 1", "last": "At n", "real": "Real", "reason": "Why"}
    cells = [[_text(row[name]) for name in heads] for row in data.to_dict("records")]
    note = (
        "Size, with its 95% interval: of the blow-up E; of modal collapse and uniformity the change of the logarithm "
        "of the spread between iterations 1 and n; of carried errors κ. At 1, at n, real: the spread."
    )
    return Table(list(heads.values()), cells, [note])


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else measured(value)
    return str(value)
