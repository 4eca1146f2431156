"""A logger plugin of Snakemake (`--logger jobs`): each job that is run, or would be, as a line of JSON."""

import json
import os
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """Appends to the file that the environment variable JOBS names; Snakemake's usual messages stay as they are."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def emit(self, record: LogRecord) -> None:
        """Note a job's rule and wildcards."""
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            job = {"rule": record.rule_name, "wildcards": dict(record.wildcards)}
            with Path(os.environ["JOBS"]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(job) + "\n")
