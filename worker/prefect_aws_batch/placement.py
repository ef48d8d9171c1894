"""How long a job may wait for a machine, and when Batch is believed that none will ever fit."""

from __future__ import annotations

from prefect_aws_batch.diagnosis import misfit, not_placed
from prefect_aws_batch.errors import CannotBePlacedError
from prefect_aws_batch.states import WAITING, BatchJob

MISFIT_SECONDS = 600.0
"""Batch says that nothing fits while a queue scales up from nothing as well: no machine is connected yet. Machines come
within minutes; what is said for so long is believed."""


class Placement:
    """One job's wait for a machine; pure, but for what it remembers of the looks before.

    Args:
        timeout: Seconds that a job may wait in all.
        misfit_seconds: Seconds for which Batch must say that nothing fits.
    """

    def __init__(self, timeout: float, *, misfit_seconds: float = MISFIT_SECONDS) -> None:
        self._timeout = timeout
        self._misfit_seconds = misfit_seconds
        self._waiting_since: float | None = None
        self._misfit_since: float | None = None

    def look(self, job: BatchJob, now: float) -> CannotBePlacedError | None:
        """Return why a job is to be given up, or None; a job that starts, be it by pulling for long, is placed.

        Args:
            job: As Batch tells it now.
            now: Unix time [s].
        """
        if job.status not in WAITING:
            self._waiting_since = self._misfit_since = None
            return None
        if self._waiting_since is None:
            # A job that ran before waits for its next attempt: its creation says nothing about that.
            self._waiting_since = job.created_at if job.created_at and job.attempts == 0 else now
        error = misfit(job)
        if error is None:
            self._misfit_since = None
        else:
            self._misfit_since = now if self._misfit_since is None else self._misfit_since
            if now - self._misfit_since >= self._misfit_seconds:
                return error
        waited = now - self._waiting_since
        return not_placed(job, waited) if waited > self._timeout else None
