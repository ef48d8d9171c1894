"""Brings Prefect's runs and Batch's jobs together again: what to adopt, to end, and to report as lost.

A worker that was killed follows nothing any more; whoever is left (or it, started again) finds its jobs by their
tags. :func:`decide` is pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from prefect_aws_batch.definitions import POOL_TAG, RUN_ID_TAG
from prefect_aws_batch.phases import Phase
from prefect_aws_batch.presence import Mark
from prefect_aws_batch.states import BatchJob

SETTLING_SECONDS = 60.0
"""For so long, a run without a job may be one that is being submitted, or a job that Batch does not show yet; and
the container of a run that has ended may still be going."""

GIVEN_BACK_SECONDS = 600.0
"""For so long, the container of a run that was suspended or scheduled again may take to end itself."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A flow run as the sweep sees it."""

    run_id: UUID
    phase: Phase
    has_started: bool
    state_age: float
    """Seconds since it came into its state."""
    job_id: str | None = None
    worker: str | None = None
    """The name of the worker that follows it, or did."""
    process: str | None = None
    """The process of that worker: several may have its name."""
    cancel_grace: float = 0.0
    """Seconds that a started run has to end itself when it is cancelled."""
    was_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Adopt:
    """Follow this live job as if it had been submitted here."""

    run_id: UUID
    job_id: str


@dataclass(frozen=True, slots=True)
class End:
    """Terminate this job."""

    run_id: UUID
    job_id: str
    why: str


@dataclass(frozen=True, slots=True)
class LetGo:
    """Stop following this run: another process has taken it over."""

    run_id: UUID


@dataclass(frozen=True, slots=True)
class Lost:
    """Find out how this run's job ended, and report it."""

    run_id: UUID


Action = Adopt | End | LetGo | Lost


def decide(
    runs: Iterable[RunView],
    jobs: Iterable[BatchJob],
    *,
    pool: str,
    followed: Collection[UUID],
    mine: Mark,
    online: Collection[str],
) -> list[Action]:
    """Say what to do about each run of a pool and each live job of its queues.

    Args:
        runs: The pool's unfinished runs, and those that its live jobs belong to.
        jobs: Live jobs with their tags; those of other pools are left alone.
        pool: The work pool's name.
        followed: Runs that this worker follows.
        mine: This worker's mark.
        online: Names of the workers and processes that Prefect hears from; their runs are theirs.
    """
    by_run = jobs_by_run(jobs, pool)
    others = set(online) - {mine.worker, mine.process}
    actions: list[Action] = []
    for run in runs:
        live = by_run.get(run.run_id, [])
        job_ids = [job.job_id for job in live] or ([run.job_id] if run.job_id else [])
        match run.phase:
            case "given back":
                settled = run.state_age >= GIVEN_BACK_SECONDS
                actions += [End(run.run_id, job.job_id, "its run gave it back") for job in live if settled]
                continue
            case "final":
                settled = run.state_age >= SETTLING_SECONDS or (run.was_cancelled and not run.has_started)
                actions += [End(run.run_id, job.job_id, "its run has ended") for job in live if settled]
                continue
            case "cancelling" if not run.has_started or run.state_age >= run.cancel_grace:
                actions += [End(run.run_id, job_id, "its run is cancelled") for job_id in job_ids]
        # A worker's name counts only where no process is known.
        follower = run.process or run.worker
        if run.run_id in followed:
            if run.process not in (None, mine.process):
                actions.append(LetGo(run.run_id))
            continue
        if follower in others:
            continue
        if live:
            # The newest is the run's; older ones are left-overs of an earlier execution.
            newest = max(live, key=lambda job: job.created_at)
            actions.append(Adopt(run.run_id, newest.job_id))
        elif run.state_age >= SETTLING_SECONDS or (run.job_id and run.phase != "pending") or run.phase == "cancelling":
            actions.append(Lost(run.run_id))
    return actions


def jobs_by_run(jobs: Iterable[BatchJob], pool: str) -> Mapping[UUID, list[BatchJob]]:
    """Return a pool's live jobs by the run they were submitted for."""
    found: dict[UUID, list[BatchJob]] = {}
    for job in jobs:
        if job.is_live and job.tags.get(POOL_TAG) == pool and (run := _uuid(job.tags.get(RUN_ID_TAG))):
            found.setdefault(run, []).append(job)
    return found


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
