"""Rule plot_learning_curves: learning curves of every iteration (the paper's Figs. 3 and 9-12)."""

from pathlib import Path
from typing import Literal, get_args

from selfloop.analysis.learning import learning_figure
from selfloop.analysis.read import read_curves
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job

Axis = Literal["epoch", "step"]
Scale = Literal["linear", "log"]


def run(job: Job) -> None:
    """Draw the four variants, epochs or steps on linear or logarithmic axes; a path's name says which it gets."""
    curves = read_curves(Path(job.input["learning_curves"]))
    paths = [Path(path) for path in job.output["figures"]]
    quantity, title = Quantity(**job.params["quantity"]), job.params["title"]
    for x in get_args(Axis):
        for scale in get_args(Scale):
            figure = learning_figure(curves, job.params["domain"], quantity, x=x, scale=scale, title=title)
            save(figure, [path for path in paths if path.stem.endswith(f"{x}-{scale}")])
