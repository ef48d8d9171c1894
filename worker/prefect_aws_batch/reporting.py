"""Tells Prefect how a job ended, where its run does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from prefect.client.schemas.actions import StateCreate
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed, Suspended

from prefect_aws_batch.diagnosis import Ending
from prefect_aws_batch.errors import BatchError, EndedOnRequestError, MachineLostError
from prefect_aws_batch.phases import is_unfinished

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


async def report(client: PrefectClient, flow_run_id: UUID, ending: Ending, tail: Sequence[str]) -> State | None:
    """Set the state that a job's end makes, unless its run has an end of its own, and return it (None: nothing set).

    What ran in the container knows best: a run that is Completed, Failed, Crashed, Cancelled, suspended or scheduled
    again stays so. Set by force, because a server's retry rules must not start a user's error again.
    """
    run = await read_run(client, flow_run_id)
    if run is None or not is_unfinished(run):
        return None
    state = end_state(run.state, ending, tail)
    # Prefect's client drops data that is no result of a flow, so the state is sent as the API takes it.
    details = state.state_details.model_copy(update={"flow_run_id": flow_run_id, "transition_id": uuid4()})
    sent = StateCreate(type=state.type, name=state.name, message=state.message, data=state.data, state_details=details)
    await client.request(
        "POST",
        "/flow_runs/{id}/set_state",
        path_params={"id": flow_run_id},
        json={"state": sent.model_dump(mode="json"), "force": True},
    )
    return state


def end_state(current: State | None, ending: Ending, tail: Sequence[str]) -> State:
    """Return the state that a job's end makes of an unfinished run; pure.

    Its data is the error's kind and sentence, ``kind: sentence``: for programs, which need not read the message, and
    for ``state.result()``, which raises it.
    """
    if current is not None and current.is_paused() and ending.try_again and ending.error is not None:
        # Nothing is left that would see the run resumed: suspended, a new job is submitted when it is.
        until = current.state_details.pause_timeout
        lost = f"{ending.error.what.rstrip('.')} while the run was paused. Resumed, it goes on in a new job."
        return Suspended(message=lost, pause_expiration_time=until, pause_key=current.state_details.pause_key)
    if ending.state == "cancelled" or (current is not None and current.is_cancelling()):
        said = ending.error or EndedOnRequestError("The job ended on request")
        return Cancelled(message=said.sentence, data=data_of(said))
    error = ending.error or MachineLostError(
        "The container ended with exit code 0, but the run in it never said that it ended",
        remedy="Check that the image's entry point runs the command it is given; then run it again.",
    )
    make = Failed if ending.state == "failed" else Crashed
    return make(message=error.sentence + last_lines(tail), data=data_of(error))


def data_of(error: BatchError) -> str:
    """Return a state's data: the error's kind, a colon, and its sentence."""
    return f"{error.kind}: {error.sentence}"


def last_lines(tail: Sequence[str]) -> str:
    """Return the log's last lines as a state's message carries them."""
    text = "\n".join(tail[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]
    return f"\nLast lines of the log:\n{text}" if text.strip() else ""
