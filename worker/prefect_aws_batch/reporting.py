"""Tells Prefect how a job ended, where its run does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed

from prefect_aws_batch.diagnosis import Ending
from prefect_aws_batch.errors import MachineLostError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State

_TAIL_LINES, _TAIL_CHARACTERS = 15, 3_000


async def read_run(client: PrefectClient, flow_run_id: UUID) -> FlowRun | None:
    """Return the run as it is now, or None where it was deleted."""
    try:
        return await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return None


def is_unfinished(state: State | None) -> bool:
    """Whether a state belongs to a container at work; Scheduled and Paused ones are Prefect's business."""
    return state is None or state.is_pending() or state.is_running() or state.is_cancelling()


async def report(client: PrefectClient, flow_run_id: UUID, ending: Ending, tail: Sequence[str]) -> State | None:
    """Set the state that a job's end makes, unless its run has an end of its own, and return it (None: nothing set).

    What ran in the container knows best: a run that is Completed, Failed, Crashed, Cancelled or waits for its retry
    stays so. Set by force, because a server's retry rules must not start a user's error again.
    """
    run = await read_run(client, flow_run_id)
    if run is None or not is_unfinished(run.state):
        return None
    state = end_state(run.state, ending, tail)
    await client.set_flow_run_state(flow_run_id, state, force=True)
    return state


def end_state(current: State | None, ending: Ending, tail: Sequence[str]) -> State:
    """Return the state that a job's end makes of an unfinished run; pure."""
    sentence = ending.error.sentence if ending.error else ""
    if ending.state == "cancelled" or (current is not None and current.is_cancelling()):
        return Cancelled(message=sentence or "The job ended on request.")
    if ending.error is None:
        error = MachineLostError(
            "The container ended with exit code 0, but the run in it never said that it ended",
            remedy="Check that the image's entry point runs the command it is given; then run it again.",
        )
        return Crashed(message=error.sentence + last_lines(tail))
    make = Crashed if ending.state == "crashed" else Failed
    return make(message=sentence + last_lines(tail))


def last_lines(tail: Sequence[str]) -> str:
    """Return the log's last lines as a state's message carries them."""
    text = "\n".join(tail[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]
    return f"\nLast lines of the log:\n{text}" if text.strip() else ""
