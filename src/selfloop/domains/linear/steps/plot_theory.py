"""The simulation against theory: the paper's Figs. 7 and 16."""

from pathlib import Path

from selfloop.analysis.style import save
from selfloop.domains.linear.figures import theory_figure
from selfloop.domains.linear.simulation.runs import read_runs
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Draw both figures; a path's name says which it gets."""
    runs = read_runs(Path(job.input["metrics"]), job.params["asked"])
    titles = job.params["titles"]
    linear = theory_figure(runs, scale="linear", title=titles["theory-linear"])
    log = theory_figure(runs, scale="log", title=titles["theory-log"])
    for figure, scale in ((linear, "linear"), (log, "log")):
        save(figure, [path for path in map(Path, job.output["figures"]) if path.stem.endswith(f"theory-{scale}")])
