"""What a flow run's state says about its container: whether one is expected, waits, or was given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prefect.client.schemas.objects import StateType

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

Phase = Literal["pending", "running", "cancelling", "waiting", "given back", "final"]
"""``waiting``: its container holds still, in a pause or until the flow's own retry. ``given back``: suspended or
scheduled, so that no container is expected, and whoever resumes or schedules it gets a new one."""

RETRY_NAME = "AwaitingRetry"
_IN_PROCESS = "in_process"


def phase_of(run: FlowRun) -> Phase:
    """Return what a run's state expects of its container; pure."""
    state = run.state
    if state is None or state.type == StateType.PENDING:
        return "pending"
    if state.is_final():
        return "final"
    if state.type == StateType.RUNNING:
        return "running"
    if state.type == StateType.CANCELLING:
        return "cancelling"
    if state.type == StateType.PAUSED:
        return "given back" if state.state_details.pause_reschedule else "waiting"
    waits = state.name == RETRY_NAME and run.empirical_policy.retry_type == _IN_PROCESS
    return "waiting" if waits else "given back"


def is_unfinished(run: FlowRun) -> bool:
    """Whether a run is its container's business, so that the container's end is the run's."""
    return phase_of(run) not in ("final", "given back")


def may_have_a_new_job(run: FlowRun) -> bool:
    """Whether a run whose machine was lost goes on in a new job: nobody ended, cancelled, paused or rescheduled it."""
    phase = phase_of(run)
    return phase in ("pending", "running") or (
        phase == "waiting" and run.state is not None and run.state.is_scheduled()
    )
