"""What the error handler asks of Prefect about flow runs: find one, say why it ended, end what it left alive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from isaaclab_flows.schemas.errors import (
    CancelledError,
    ErrorRecord,
    FlowsError,
    InfrastructureLostError,
    InputMissingError,
)

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

EVENT_PREFIX = "prefect.flow-run."
"""What an event puts before a flow run's id."""
ATTEMPT_TAG = "attempt:"
_MOST_CHILDREN = 200


def find_run(run_id: str) -> FlowRun:
    """Return a flow run by its id, as a person or an event writes it.

    Raises:
        InputMissingError: There is no such run.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    bare = run_id.removeprefix(EVENT_PREFIX)
    try:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(bare))
    except (ObjectNotFound, ValueError):
        raise InputMissingError(
            "There is no such flow run", where=run_id, remedy="Give a flow run's id as its page shows it."
        ) from None


def is_wanted(run_id: str) -> bool:
    """Say whether a flow run is to go on: it is there, and nobody has asked for its end."""
    try:
        state = find_run(run_id).state
    except InputMissingError:
        return False
    return not is_cancelled(state)


def is_cancelled(state: State | None) -> bool:
    """Say whether somebody has cancelled a run in this state, be it still ending or already at its end."""
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def attempt_of(run: FlowRun) -> int | None:
    """Return which attempt of a VAMS execution a run is, by its tag, or None where it has none."""
    numbers = [tag.removeprefix(ATTEMPT_TAG) for tag in run.tags if tag.startswith(ATTEMPT_TAG)]
    return int(numbers[0]) if numbers and numbers[0].isdigit() else None


def why_ended(run: FlowRun, recorded: ErrorRecord | None) -> FlowsError | None:
    """Say why a run is at its end, or None where it has succeeded.

    Args:
        run: The run; one that is still Running is taken for dead, because its heartbeats are missing.
        recorded: The error in the job's outcome, where execute left one.
    """
    state = run.state
    message = (state.message if state else None) or ""
    if state is not None and state.is_completed():
        return None
    if is_cancelled(state):
        return cancelled(run)
    if state is not None and state.is_failed():
        return recorded.to_error() if recorded else FlowsError(message or "The pipeline failed", where=run.name)
    return InfrastructureLostError(
        f"The pipeline's process was lost: {message or 'it sent no sign of life'}",
        where=f"flow run {run.name}",
        remedy="Run the workflow again: it goes on from the last checkpoint.",
    )


def cancelled(run: FlowRun) -> CancelledError:
    """Return the error for a run that was cancelled; a reason that the state gives is repeated."""
    message = (run.state.message if run.state else None) or ""
    by = f": {message.rstrip('.')}" if message else ""
    return CancelledError(
        f"The job was cancelled by somebody in Prefect{by}",
        where=f"flow run {run.name}",
        remedy="Run the workflow again when it is wanted: what was saved is kept.",
    )


def end_live_children(run_id: UUID, *, wait_seconds: float = 0.0) -> list[str]:
    """End the flow runs that a dead run left alive, and with them their Batch jobs.

    A child with infrastructure of its own is told to cancel, so that its worker ends the job; a child that ran inside
    the dead process is dead as well and only needs to be called so.

    Args:
        run_id: The dead parent.
        wait_seconds: How long to wait for them to end.

    Returns:
        The children's names.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.states import Cancelled, Cancelling, Crashed

    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]))
    ended: list[str] = []
    with get_client(sync_client=True) as client:
        live = [
            run
            for run in client.read_flow_runs(flow_run_filter=below, limit=_MOST_CHILDREN)
            if run.state is not None and not run.state.is_final()
        ]
        for run in live:
            ended.append(run.name)
            reason = "The run that started this one has ended"
            if run.work_pool_name is None:
                ended += end_live_children(run.id)
                client.set_flow_run_state(run.id, Crashed(message=f"{reason}: its process is gone"), force=True)
            elif run.state is not None and run.state.is_scheduled():
                client.set_flow_run_state(run.id, Cancelled(message=reason), force=True)
            else:
                client.set_flow_run_state(run.id, Cancelling(message=reason), force=True)
        end = time.monotonic() + wait_seconds
        for run in live:
            while time.monotonic() < end and not _is_final(client.read_flow_run(run.id)):
                time.sleep(1.0)
    return ended


def call_dead(run: FlowRun, message: str) -> None:
    """Set a run that shows no sign of life to Crashed; its own process, should it live, finds itself ended."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)


def cancel(run_id: str, reason: str) -> None:
    """Ask for a flow run to be cancelled."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run_id), Cancelling(message=reason))


def _is_final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()
