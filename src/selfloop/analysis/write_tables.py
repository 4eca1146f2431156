"""Rule write_tables: a domain's main measurement as a table like the paper's Table 2, and its trend over iterations."""

from pathlib import Path

from selfloop.analysis import tables
from selfloop.analysis.read import read_metrics
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Write both tables as CSV and Markdown."""
    metrics = read_metrics(Path(job.input["metrics"]))
    quantity, domain = Quantity(**job.params["quantity"]), job.params["domain"]
    headline = tables.headline_table(metrics, domain, quantity)
    tables.write_table(
        headline, tables.headline_markdown(headline, quantity), Path(job.output["headline"]).with_suffix("")
    )
    trend = tables.chains_table(metrics, domain, quantity)
    tables.write_table(trend, tables.chains_markdown(trend, quantity), Path(job.output["trend"]).with_suffix(""))
