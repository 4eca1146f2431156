"""Lets a job that runs elsewhere record what its outputs were made from.

Snakemake 9 leaves that record to the main process. But a job on a cluster ends its outputs' mark of being unfinished by
itself: if the main process is gone by then (a lost connection, a node's end), outputs are left that look finished and
have no record, and no change of code or settings makes them anew. So the job writes the record, too; the main process,
where it lives, writes the same once more.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from snakemake.persistence import PersistenceBase

FINISHED = "finished"


def record_where_jobs_run() -> None:
    """Let this process's Snakemake write a record for each of its jobs, whoever else does."""
    finished = getattr(PersistenceBase, FINISHED)
    if not hasattr(finished, "records"):
        setattr(PersistenceBase, FINISHED, recording(finished))


def recording(finished: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], Awaitable[None]]:
    """The same, in the manner of jobs that are submitted all at once: these have no main process to write for them."""

    async def recorded(persistence: Any, job: Any) -> None:
        settings = persistence.dag.workflow.remote_execution_settings
        before, settings.immediate_submit = settings.immediate_submit, True
        try:
            await finished(persistence, job)
        finally:
            settings.immediate_submit = before

    recorded.records = True  # type: ignore[attr-defined]
    return recorded
