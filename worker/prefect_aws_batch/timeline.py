"""What a run's timeline shows of its job, and the sign of life of a run whose container is between two machines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prefect.events import emit_event

from prefect_aws_batch.states import STARTING, WAITING, BatchJob

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

HEARTBEAT = "prefect.flow-run.heartbeat"
HEARTBEAT_SECONDS = 30.0
STARTS_WITHIN = 120.0
"""Seconds that a container may take from its start to the first heartbeat of its own."""


class Interim:
    """Says when the worker speaks for a run: after its first attempt, until the next has a heart of its own; pure.

    A run that was running when its machine was reclaimed is Running still, and alive, for the minutes until another
    machine is found; an automation on missing heartbeats would crash it. Before the first attempt nobody expects one.
    """

    def __init__(self) -> None:
        self._running_since: float | None = None
        self._beat_at = -HEARTBEAT_SECONDS

    def is_due(self, job: BatchJob, *, ran_before: bool, now: float) -> bool:
        """Return whether to send a heartbeat now.

        Args:
            job: As Batch tells it.
            ran_before: Whether an attempt ran before the one that is waited for.
            now: Seconds on a monotonic clock.
        """
        if job.status in WAITING or job.status == STARTING:
            self._running_since = None
        elif self._running_since is None:
            self._running_since = now
        young = self._running_since is None or now - self._running_since < STARTS_WITHIN
        if not (ran_before and job.is_live and young) or now - self._beat_at < HEARTBEAT_SECONDS:
            return False
        self._beat_at = now
        return True


class Timeline:
    """Sends a run's events to Prefect."""

    def __init__(self, flow_run: FlowRun) -> None:
        self._run = {
            "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
            "prefect.resource.name": flow_run.name,
        }
        self._interim = Interim()

    def changed(self, job: BatchJob) -> None:
        """Show that a job came into another status, with Batch's reason."""
        reason = {"aws-batch.status-reason": job.status_reason} if job.status_reason else {}
        emit_event(
            event=f"aws-batch.job.{job.status.lower()}",
            resource={
                "prefect.resource.id": f"aws-batch.job.{job.job_id}",
                "prefect.resource.name": job.name or job.job_id,
                **reason,
            },
            related=[{**self._run, "prefect.resource.role": "flow-run"}],
        )

    def looked_at(self, job: BatchJob, *, ran_before: bool) -> None:
        """Keep a run alive whose job waits for its next machine."""
        if self._interim.is_due(job, ran_before=ran_before, now=time.monotonic()):
            emit_event(event=HEARTBEAT, resource=self._run)
