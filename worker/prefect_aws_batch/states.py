"""Batch's jobs as DescribeJobs tells them, reduced to what the worker decides by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

LIVE_STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
"""In the order in which a job goes through them."""
EXIT_TERMINATED = 143
"""Exit code of a container that ended on SIGTERM."""
EXIT_TEMPORARY = 75
"""Exit code by which a container says that another machine may do better (EX_TEMPFAIL of sysexits.h)."""
STARTING = "STARTING"
"""On a machine, pulling the image."""
WAITING = frozenset(("SUBMITTED", "PENDING", "RUNNABLE"))
"""Without a machine."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One job as it was when Batch was asked."""

    job_id: str
    name: str
    status: str
    status_reason: str = ""
    """Batch's word on the job, e.g. why it waits or that its host went away."""
    exit_code: int | None = None
    """None where the container never ran, or its host took the code along."""
    container_reason: str = ""
    """ECS's word on the container, e.g. OutOfMemoryError."""
    log_stream: str | None = None
    is_terminated: bool = False
    """Whether somebody asked Batch for its end (TerminateJob, CancelJob)."""
    attempts: int = 0
    """Attempts that Batch began."""
    has_started: bool = False
    """Whether the container of the last attempt ran, be it for a moment."""
    queue: str = ""
    created_at: float = 0.0
    """Unix time [s]."""
    stopped_at: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    num_nodes: int = 1

    @property
    def is_live(self) -> bool:
        """Whether it may still do something."""
        return self.status in LIVE_STATUSES

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> Self:
        """Read a JobDetail (or a JobSummary) of boto3; what is missing there is None or empty here."""
        container = detail.get("container") or {}
        attempts = detail.get("attempts") or []
        last_attempt = attempts[-1] if attempts else {}
        last = last_attempt.get("container") or {}
        stopped = detail.get("stoppedAt")
        return cls(
            job_id=detail["jobId"],
            name=detail.get("jobName", ""),
            status=detail.get("status", "SUBMITTED"),
            status_reason=detail.get("statusReason") or "",
            exit_code=_first(container.get("exitCode"), last.get("exitCode")),
            container_reason=container.get("reason") or last.get("reason") or "",
            is_terminated=bool(detail.get("isTerminated") or detail.get("isCancelled")),
            has_started=_has_started(detail, last_attempt),
            log_stream=container.get("logStreamName") or last.get("logStreamName"),
            attempts=max(len(attempts), 1 if detail.get("startedAt") else 0),
            queue=detail.get("jobQueue", ""),
            created_at=detail.get("createdAt", 0) / 1000,
            stopped_at=stopped / 1000 if stopped else None,
            tags=detail.get("tags") or {},
            num_nodes=(detail.get("nodeProperties") or {}).get("numNodes", 1),
        )


def _has_started(detail: Mapping[str, Any], last_attempt: Mapping[str, Any]) -> bool:
    parts = (detail, last_attempt)
    has_code = any((part.get("container") or {}).get("exitCode") is not None for part in parts)
    return has_code or any(part.get("startedAt") for part in parts)


def _first(*codes: int | None) -> int | None:
    return next((code for code in codes if code is not None), None)
